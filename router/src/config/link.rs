//! Which QUIC windows and timers fit the line a router hangs on? What a profile gives, [`kernpost_router_core::line`] says;
//! quinn's default connection receive window is unlimited, so windows are always set.

use kernpost_router_core::Line;
use kernpost_router_core::line::link_window_bytes;

/// `[link]`: QUIC windows and timers.
#[derive(Debug, Clone)]
pub struct LinkSection {
    /// The line. Default 1 Gbit/s with a round trip of 1 ms.
    pub line: Line,
    /// Receive window of each lane, bytes. Default from the profile.
    pub lane_window_bytes: u64,
    /// Send window of a connection, bytes; quinn may hold this much unacknowledged. At least all class credits: it counts
    /// all streams, so a full bulk lane must not stop the settlement lane. How much is under way on a slow line is not decided by
    /// it: quinn takes nothing beyond what the peer's receive windows permit, and those follow the line.
    pub send_window_bytes: u64,
    /// Longest bundle frame made when a part is split for a link, bytes; one entry may be longer. Default from the profile.
    pub largest_bundle_bytes: usize,
    /// Upper bound of MTU discovery, UDP payload bytes. Default from the profile; 1,200..=65,527.
    pub mtu_upper_bound: u16,
    /// Keep-alive, ms. Default 15,000; 1,000..=25,000, because firewalls forget UDP flows after 30 s.
    pub keep_alive_ms: u64,
    /// A connection silent for this long is lost, ms. Default 30,000; 3,000..=300,000.
    pub idle_timeout_ms: u64,
}

impl LinkSection {
    /// Whether the kernel cuts large writes into packets (GSO). quinn hands over ten packets at once, and above 65,535 / 10
    /// bytes each the kernel refuses that silently: then it is off.
    #[must_use]
    pub fn segmentation_offload(&self) -> bool {
        self.mtu_upper_bound <= LARGEST_OFFLOADED_PAYLOAD
    }

    /// The same section for a link over another line: windows, send window and MTU are that line's.
    #[must_use]
    pub fn over(&self, line: Line, least_send_window_bytes: u64) -> Self {
        Self {
            line,
            lane_window_bytes: line.lane_window_bytes(),
            send_window_bytes: send_window_bytes(line.lane_window_bytes(), least_send_window_bytes),
            largest_bundle_bytes: line.largest_bundle_bytes(),
            mtu_upper_bound: line.mtu_upper_bound(),
            ..self.clone()
        }
    }
}

const LARGEST_OFFLOADED_PAYLOAD: u16 = 6_553;

/// All streams' windows, and at least `least`.
pub(super) fn send_window_bytes(lane_window_bytes: u64, least: u64) -> u64 {
    link_window_bytes(lane_window_bytes).max(least)
}
