//! What needs a whole pack: round trips, damage, refusals, the document, sizes.

mod damage;
mod document;
mod forge;
mod in_parts;
mod numbers;
mod refusals;
mod round_trip;
mod sizes;
mod write_refusals;
