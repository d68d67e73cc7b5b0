//! How large may the queues of a link be on the line below it? A window is a queue: what does not fit into the line waits in
//! it, in front of whatever is urgent.
//!
//! The line's rate and round trip give, for routers and endpoints alike:
//!
//! - the **window of a lane**: twice the bandwidth-delay product, at least 32 KiB (256 KiB from 1 Gbit/s on, where short
//!   round trips would otherwise leave less than a core can fill between two wake-ups), at most 64 MiB;
//! - the **window of a link**: a lane's, times the streams that may carry frames at once (four lanes and the control stream),
//!   so that no lane can ever hold back another (WIRE 2.3);
//! - the **largest bundle**: what the line carries in 20 ms, at most the longest frame, and always at least one entry. A
//!   recipient can check nothing before the last byte of a bundle is there, so a large one is latency;
//! - the **largest UDP payload** looked for: slow lines are tunnels more often than not and stay at the always-safe size.
//!
//! | line | round trip assumed | window of a lane | largest bundle | UDP payload |
//! |---|---|---|---|---|
//! | 1 Mbit/s | 100 ms | 32,768 | 2,500 | 1,232 |
//! | 10 Mbit/s | 50 ms | 125,000 | 25,000 | 1,232 |
//! | 100 Mbit/s | 20 ms | 500,000 | 250,000 | 1,452 |
//! | 1 Gbit/s (default) | 1 ms | 262,144 | 262,144 | 1,452 |
//! | 10 Gbit/s | 1 ms | 2,500,000 | 262,144 | 1,452 |
//!
//! Fast lines are assumed short. A fast line to far away needs its round trip stated: 1 Gbit/s at 20 ms is 5,000,000 bytes.

use kernpost_codecs::LaneKind;
use kernpost_codecs::frame::LONGEST_BODY;

/// The rate of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LinkProfile {
    /// 1 Mbit/s.
    Mbit1,
    /// 10 Mbit/s.
    Mbit10,
    /// 100 Mbit/s.
    Mbit100,
    /// 1 Gbit/s.
    #[default]
    Gbit1,
    /// 10 Gbit/s.
    Gbit10,
}

impl LinkProfile {
    /// Profiles by their names in configurations.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("1mbit", Self::Mbit1),
        ("10mbit", Self::Mbit10),
        ("100mbit", Self::Mbit100),
        ("1gbit", Self::Gbit1),
        ("10gbit", Self::Gbit10),
    ];

    /// The name in configurations.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, profile)| *profile == self).map_or("", |(name, _)| name)
    }

    /// The rate in bit/s.
    #[must_use]
    pub const fn bits_per_s(self) -> u64 {
        match self {
            Self::Mbit1 => 1_000_000,
            Self::Mbit10 => 10_000_000,
            Self::Mbit100 => 100_000_000,
            Self::Gbit1 => 1_000_000_000,
            Self::Gbit10 => 10_000_000_000,
        }
    }

    /// The round trip assumed when none is stated, ms.
    #[must_use]
    pub const fn usual_rtt_ms(self) -> u64 {
        match self {
            Self::Mbit1 => 100,
            Self::Mbit10 => 50,
            Self::Mbit100 => 20,
            Self::Gbit1 | Self::Gbit10 => 1,
        }
    }

    const fn smallest_window(self) -> u64 {
        match self {
            Self::Mbit1 | Self::Mbit10 | Self::Mbit100 => SMALLEST_WINDOW,
            Self::Gbit1 | Self::Gbit10 => SMALLEST_FAST_WINDOW,
        }
    }
}

/// A line: its rate and its round trip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// Its rate.
    pub profile: LinkProfile,
    /// Its round trip, ms. 1..=2,000.
    pub rtt_ms: u64,
}

impl Default for Line {
    fn default() -> Self {
        Self::usual(LinkProfile::default())
    }
}

impl Line {
    /// A line of this rate with the round trip assumed for it.
    #[must_use]
    pub const fn usual(profile: LinkProfile) -> Self {
        Self { profile, rtt_ms: profile.usual_rtt_ms() }
    }

    const fn bytes_in_ms(self, ms: u64) -> u64 {
        (self.profile.bits_per_s() / 8).saturating_mul(ms) / 1_000
    }

    /// Receive window of one lane, bytes: 32 KiB ..= 64 MiB.
    #[must_use]
    pub fn lane_window_bytes(self) -> u64 {
        let twice = self.bytes_in_ms(self.rtt_ms).saturating_mul(2);
        twice.clamp(self.profile.smallest_window(), LARGEST_WINDOW)
    }

    /// Bytes of frame a bundle should not exceed; a bundle of one entry may.
    #[must_use]
    pub fn largest_bundle_bytes(self) -> usize {
        usize::try_from(self.bytes_in_ms(LARGEST_BUNDLE_MS)).map_or(LONGEST_BODY, |bytes| bytes.min(LONGEST_BODY))
    }

    /// Upper bound of MTU discovery, UDP payload bytes.
    #[must_use]
    pub const fn mtu_upper_bound(self) -> u16 {
        match self.profile {
            LinkProfile::Mbit1 | LinkProfile::Mbit10 => SAFE_PAYLOAD,
            LinkProfile::Mbit100 | LinkProfile::Gbit1 | LinkProfile::Gbit10 => ETHERNET_PAYLOAD,
        }
    }
}

/// The window of a whole link, bytes, when each of its lanes has `lane` (see the module).
#[must_use]
pub const fn link_window_bytes(lane: u64) -> u64 {
    lane.saturating_mul(STREAMS)
}

/// Smallest window of a lane, bytes: about twenty packets.
pub const SMALLEST_WINDOW: u64 = 32 << 10;
/// Smallest window of a lane from 1 Gbit/s on, bytes.
pub const SMALLEST_FAST_WINDOW: u64 = 256 << 10;
/// Largest window of a lane a profile gives, bytes.
pub const LARGEST_WINDOW: u64 = 64 << 20;
/// Time a bundle may take on the line, ms.
const LARGEST_BUNDLE_MS: u64 = 20;
/// Lanes and the control stream.
const STREAMS: u64 = LaneKind::LANES.len() as u64 + 1;
/// The UDP payload every IPv6 path carries: 1,280 − 40 − 8.
const SAFE_PAYLOAD: u16 = 1_232;
/// An Ethernet frame's UDP payload over IPv6: 1,500 − 40 − 8.
const ETHERNET_PAYLOAD: u16 = 1_452;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_gives_what_the_table_says() {
        let table = [
            (LinkProfile::Mbit1, 100, 32_768, 2_500, 1_232),
            (LinkProfile::Mbit10, 50, 125_000, 25_000, 1_232),
            (LinkProfile::Mbit100, 20, 500_000, 250_000, 1_452),
            (LinkProfile::Gbit1, 1, 262_144, 262_144, 1_452),
            (LinkProfile::Gbit10, 1, 2_500_000, 262_144, 1_452),
        ];
        for (profile, rtt_ms, window, bundle, payload) in table {
            let line = Line::usual(profile);
            let given = (line.rtt_ms, line.lane_window_bytes(), line.largest_bundle_bytes(), line.mtu_upper_bound());
            assert_eq!(given, (rtt_ms, window, bundle, payload), "{}", profile.name());
        }
        assert_eq!(table.map(|row| row.0), LinkProfile::NAMES.map(|(_, profile)| profile));
    }

    #[test]
    fn the_round_trip_counts_within_bounds() {
        let window = |profile, rtt_ms| Line { profile, rtt_ms }.lane_window_bytes();
        assert_eq!(window(LinkProfile::Gbit1, 20), 5_000_000);
        assert_eq!(window(LinkProfile::Mbit1, 1), SMALLEST_WINDOW);
        assert_eq!(window(LinkProfile::Gbit10, 2_000), LARGEST_WINDOW);
    }

    #[test]
    fn all_lanes_and_the_control_stream_fit_into_a_link_at_once() {
        assert_eq!(link_window_bytes(262_144), 5 * 262_144);
    }
}
