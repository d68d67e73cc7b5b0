//! The core's knobs: default, unit, range, and what each costs in the worst case.

use kernpost_codecs::statement::LONGEST_PAYLOAD;
use kernpost_codecs::{Class, RouterId};

use crate::collections::Map;
use crate::link::Peer;

/// Credit granted per link and priority class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassCredit {
    /// Entries in flight. Default 4,096; 1..=1,048,576.
    pub entries: u64,
    /// Bytes in flight (statement + payload + 256 each, WIRE 7.1). Default 8 MiB; this much memory may be held per link
    /// and class.
    pub bytes: u64,
}

/// What one link may use per second, charged before any verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkBudget {
    /// Entries a second. Default 200,000.
    pub entries_per_s: u64,
    /// Frame bytes a second. Default 1 GiB.
    pub bytes_per_s: u64,
    /// Signature checks a second. Default 20,000 (about one core of ESP256).
    pub signatures_per_s: u64,
}

/// Configuration of an engine. All engines of a router share one.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// This router's id.
    pub router: RouterId,
    /// Workers in the process, 1..=64. Default 1.
    pub workers: u16,
    /// Credit per class, indexed by [`Class::index`]. Worst-case memory of the forwarding path: links × the sum of bytes.
    pub credit: [ClassCredit; 3],
    /// How long a recipient has to settle an entry, ms. Default 30,000 (WIRE 8.6).
    pub endpoint_deadline_ms: u64,
    /// Added per hop upstream, ms. Default 2,000.
    pub hop_deadline_ms: u64,
    /// How long an entry may wait for onward credit, ms. Default 100.
    pub credit_wait_ms: u64,
    /// Retry-after stated with `busy` and `not-attached`, ms. Default 200.
    pub retry_after_ms: u64,
    /// Most hops an entry may have made when it arrives. Default 3 (WIRE 6.3).
    pub hop_limit: u8,
    /// Checked roots remembered per engine. Default 8,192 (about 100 bytes each).
    pub root_cache: usize,
    /// Budget of an endpoint's link.
    pub endpoint_budget: LinkBudget,
    /// Budget of a router's link.
    pub router_budget: LinkBudget,
    /// Longest bundle frame body written when a part is split for a link, bytes; a part of one entry may be longer. From the
    /// line's profile ([`crate::Line::largest_bundle_bytes`]). Default 262,144; 1,024..=262,144.
    pub largest_bundle: usize,
    /// The same for links with routers that hang on a line of their own. Default none; as many as there are configured peers.
    pub largest_bundle_of: Map<RouterId, usize>,
    /// A link that attaches several endpoints gives each at most 1/this of its credit. Default 8.
    pub endpoint_share: u64,
    /// A downstream link may hold at most 1/this of one upstream link's credit. Default 4.
    pub downstream_share: u64,
    /// Largest payload handed on, bytes. Default 2 GiB, the most there is; with 65,536 no large payloads (WIRE 9) are carried.
    pub largest_payload: u64,
    /// Large payloads announced on one link and not settled. Default 16; shares as for credit. Worst-case memory: this many
    /// windows of 768 KiB per link, within `large_payloads`.
    pub large_payloads_per_link: u64,
    /// Large payloads announced on all links of one worker. Default 256, of at most 768 KiB each.
    pub large_payloads: usize,
    /// Whether there is a custody to hand over to what nobody can take now: it takes part in the crossings under the number
    /// `workers`. Default false.
    pub custody: bool,
}

impl EngineConfig {
    /// Longest bundle frame body for links with this peer.
    pub fn largest_bundle_with(&self, peer: &Peer) -> usize {
        let own = match peer {
            Peer::Router(router) => self.largest_bundle_of.get(router).copied(),
            Peer::Endpoints(_) => None,
        };
        own.unwrap_or(self.largest_bundle)
    }

    /// The defaults for a router with this id.
    pub fn new(router: RouterId) -> Self {
        let credit = ClassCredit { entries: 4_096, bytes: 8 << 20 };
        let budget = LinkBudget { entries_per_s: 200_000, bytes_per_s: 1 << 30, signatures_per_s: 20_000 };
        Self {
            router,
            workers: 1,
            credit: [credit; Class::ALL.len()],
            endpoint_deadline_ms: 30_000,
            hop_deadline_ms: 2_000,
            credit_wait_ms: 100,
            retry_after_ms: 200,
            hop_limit: 3,
            root_cache: 8_192,
            endpoint_budget: budget,
            router_budget: LinkBudget { entries_per_s: 1_000_000, bytes_per_s: 4 << 30, signatures_per_s: 50_000 },
            largest_bundle: kernpost_codecs::frame::LONGEST_BODY,
            largest_bundle_of: Map::default(),
            endpoint_share: 8,
            downstream_share: 4,
            largest_payload: LONGEST_PAYLOAD,
            large_payloads_per_link: 16,
            large_payloads: 256,
            custody: false,
        }
    }
}

/// Configuration of the control side of a router.
#[derive(Debug, Clone)]
pub struct ControlConfig {
    /// This router's id.
    pub router: RouterId,
    /// Workers in the process, 1..=64.
    pub workers: u16,
    /// How long a link may take to say hello, ms. Default 10,000 (WIRE 2.5).
    pub hello_timeout_ms: u64,
    /// Largest payload accepted, stated in hello, bytes. Default 2 GiB; see [`EngineConfig::largest_payload`].
    pub largest_payload: u64,
    /// Links one identity may have at a time, so that nobody takes them all. Default 16 (WIRE 2.6).
    pub links_per_identity: usize,
    /// Attachments one link may hold. Default 4,096.
    pub attachments_per_link: usize,
    /// Ping interval on an otherwise silent control stream, ms. Default 10,000.
    pub ping_interval_ms: u64,
    /// Software name and version stated in hello.
    pub software: String,
}

impl ControlConfig {
    /// The defaults for a router with this id.
    pub fn new(router: RouterId, workers: u16) -> Self {
        Self {
            router,
            workers,
            hello_timeout_ms: 10_000,
            largest_payload: LONGEST_PAYLOAD,
            links_per_identity: 16,
            attachments_per_link: 4_096,
            ping_interval_ms: 10_000,
            software: concat!("kernpost-router/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}
