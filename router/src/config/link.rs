//! Which QUIC windows and timers fit the line a router hangs on?
//!
//! A profile names the line's rate; windows are twice the bandwidth-delay product at the configured round trip. quinn's
//! default connection receive window is unlimited, so it is always set here.

/// The rate of the line.
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
    /// Profiles by their names in the configuration.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("1mbit", Self::Mbit1),
        ("10mbit", Self::Mbit10),
        ("100mbit", Self::Mbit100),
        ("1gbit", Self::Gbit1),
        ("10gbit", Self::Gbit10),
    ];

    /// The rate in bit/s.
    #[must_use]
    pub fn bits_per_s(self) -> u64 {
        match self {
            Self::Mbit1 => 1_000_000,
            Self::Mbit10 => 10_000_000,
            Self::Mbit100 => 100_000_000,
            Self::Gbit1 => 1_000_000_000,
            Self::Gbit10 => 10_000_000_000,
        }
    }

    /// Twice the bandwidth-delay product at `rtt_ms`, bytes, within 128 KiB ..= 64 MiB. The floor lets half of the largest
    /// frame be under way on a slow line, the ceiling bounds memory on a fast one.
    #[must_use]
    pub fn window_bytes(self, rtt_ms: u64) -> u64 {
        let delay_product = (self.bits_per_s() / 8).saturating_mul(rtt_ms) / 1_000;
        delay_product.saturating_mul(2).clamp(SMALLEST_WINDOW, LARGEST_WINDOW)
    }

    /// Upper bound of MTU discovery, UDP payload bytes. Slow lines are tunnels more often than not: they stay at the
    /// always-safe size.
    #[must_use]
    pub fn mtu_upper_bound(self) -> u16 {
        match self {
            Self::Mbit1 | Self::Mbit10 => 1_232,
            Self::Mbit100 | Self::Gbit1 | Self::Gbit10 => 1_452,
        }
    }
}

/// Smallest window a profile gives, bytes.
pub(super) const SMALLEST_WINDOW: u64 = 128 << 10;
/// Largest window a profile gives, bytes.
pub(super) const LARGEST_WINDOW: u64 = 64 << 20;

/// `[link]`: QUIC windows and timers.
#[derive(Debug, Clone)]
pub struct LinkSection {
    /// The line's rate. Default 1 Gbit/s.
    pub profile: LinkProfile,
    /// Round trip the windows are computed for, ms. Default 20; 1..=2,000.
    pub rtt_ms: u64,
    /// Receive window of a connection, bytes; quinn may buffer this much. Default from the profile.
    pub receive_window_bytes: u64,
    /// Send window of a connection, bytes; quinn may hold this much unacknowledged. At least all class credits: it counts
    /// all streams, so a full bulk lane must not stop the settlement lane.
    pub send_window_bytes: u64,
    /// Upper bound of MTU discovery, UDP payload bytes. Default from the profile; 1,200..=65,527.
    pub mtu_upper_bound: u16,
    /// Keep-alive, ms. Default 15,000; 1,000..=25,000, because firewalls forget UDP flows after 30 s.
    pub keep_alive_ms: u64,
    /// A connection silent for this long is lost, ms. Default 30,000; 3,000..=300,000.
    pub idle_timeout_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_twice_the_bandwidth_delay_product_within_bounds() {
        assert_eq!(LinkProfile::Gbit1.window_bytes(20), 5_000_000);
        assert_eq!(LinkProfile::Mbit1.window_bytes(20), SMALLEST_WINDOW);
        assert_eq!(LinkProfile::Gbit10.window_bytes(2_000), LARGEST_WINDOW);
    }
}
