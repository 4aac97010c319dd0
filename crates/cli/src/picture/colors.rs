//! Colors that stay apart from each other on white, also for readers who see red and green alike (Okabe and Ito 2008); the last
//! ones repeat the hues darker.

const COLORS: [&str; 12] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#5a6472", "#8c510a", "#01665e", "#762a83",
    "#b3261e", "#1c2430",
];

/// The color of the line or bar at this place.
pub(super) fn color(place: usize) -> &'static str {
    COLORS[place % COLORS.len()]
}

/// How often the colors have been through before this place.
pub(super) fn round(place: usize) -> usize {
    place / COLORS.len()
}

/// From white at 0 to a dark red at 1.
pub(super) fn heat(share: f64) -> String {
    const STOPS: [[f64; 3]; 4] =
        [[255.0, 255.0, 255.0], [253.0, 212.0, 158.0], [239.0, 101.0, 72.0], [127.0, 0.0, 0.0]];
    let place = share.clamp(0.0, 1.0) * (STOPS.len() - 1) as f64;
    let below = (place as usize).min(STOPS.len() - 2);
    let part = place - below as f64;
    let channel = |at: usize| (STOPS[below][at] + part * (STOPS[below + 1][at] - STOPS[below][at])).round() as u8;
    format!("#{:02x}{:02x}{:02x}", channel(0), channel(1), channel(2))
}
