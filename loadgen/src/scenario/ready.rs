//! Which scenarios ship? Those of `ops/scenarios/`, by their names; they are part of the program.

/// Names and texts.
pub const READY: [(&str, &str); 8] = [
    ("baseline", include_str!("../../../ops/scenarios/baseline.toml")),
    ("fan-out", include_str!("../../../ops/scenarios/fan-out.toml")),
    ("deadline-day", include_str!("../../../ops/scenarios/deadline-day.toml")),
    ("large-attachments", include_str!("../../../ops/scenarios/large-attachments.toml")),
    ("slow-authority", include_str!("../../../ops/scenarios/slow-authority.toml")),
    ("bad-signatures", include_str!("../../../ops/scenarios/bad-signatures.toml")),
    ("reconnect-storm", include_str!("../../../ops/scenarios/reconnect-storm.toml")),
    ("million-routes", include_str!("../../../ops/scenarios/million-routes.toml")),
];

/// The text of the ready scenario with this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static str> {
    READY.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}
