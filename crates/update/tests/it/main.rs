//! Updates through the public interface: what is made, and what is refused.

mod forge;
mod hostile;
mod round_trip;
