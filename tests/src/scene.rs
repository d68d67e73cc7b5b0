//! The cast of the end-to-end tests: who is in the directory, who may send what, who is responsible for what.
//!
//! | endpoint | link | grants | responsible for |
//! |---|---|---|---|
//! | `de/portal` | `portal` | everything, asserting at most *substantial* | – |
//! | `de/office` | `office` | – | group 050; 060 (at least *substantial*), 061 (*high*), 070 (encrypted only) |
//! | `de/x`, `de/y` | `provider` (an IT provider); `de/x` also `x-alone` | everything | 080, 081 |
//! | `de/absent` | `absent`, which never comes | – | group 090 |
//! | `de/stranger` | `stranger` | nothing | – |
//!
//! Nobody is responsible for group 099. `de/office` is also listed for the link `branch`.

use kernpost_codecs::{Assurance, EndpointId, Hello, LinkIdentity, Message, Role, RouterId, SigningKey};
use kernpost_routing_table::model::EndpointEntry;

use crate::process::{Network, Settings};
use crate::wire_client::{self, Letter, Link, RawBundle, Serving, Signer};
use crate::world::{link_identity, router_identity};

mod stage;

pub use stage::{Stage, codes};

/// For the office.
pub const FOR_OFFICE: &str = "99050012104000";
/// For the office, asserting at least *substantial*.
pub const FOR_OFFICE_SUBSTANTIAL: &str = "99060012104000";
/// For the office, asserting *high*.
pub const FOR_OFFICE_HIGH: &str = "99061012104000";
/// For the office, encrypted only.
pub const FOR_OFFICE_SEALED: &str = "99070012104000";
/// For X.
pub const FOR_X: &str = "99080012104000";
/// For Y.
pub const FOR_Y: &str = "99081012104000";
/// For an endpoint that is never attached.
pub const FOR_ABSENT: &str = "99090012104000";
/// For nobody.
pub const FOR_NOBODY: &str = "99099012104000";
/// Leipzig.
pub const WHERE: &str = "147130000000";
/// The usual payload.
pub const HELLO: &[u8] = b"Guten Tag";

/// A network with the cast in its directory, and no router yet.
pub struct Scene {
    pub network: Network,
    pub portal: EndpointId,
    pub office: EndpointId,
    pub x: EndpointId,
    pub y: EndpointId,
    pub absent: EndpointId,
    pub stranger: EndpointId,
}

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}

impl Scene {
    /// The cast, and the routers `r1`, `r2` and `r3` in the directory.
    pub fn new() -> Self {
        let mut network = Network::new();
        let world = &mut network.world;
        for name in ["r1", "r2", "r3"] {
            world.router(name);
        }
        let portal = world.endpoint("portal", "portal");
        let office = world.endpoint("office", "office");
        let (x, y) = (world.endpoint("x", "provider"), world.endpoint("y", "provider"));
        let (absent, stranger) = (world.endpoint("absent", "absent"), world.endpoint("stranger", "stranger"));
        world.grant(&portal, "99", "*", Some(Assurance::Substantial));
        world.grant(&x, "99", "*", None);
        world.grant(&y, "99", "*", None);
        world.route("office", "99050", "*", &[&office]);
        world.route("substantial", "99060", "*", &[&office]).min_assurance = Some(Assurance::Substantial);
        world.route("high", "99061", "*", &[&office]).min_assurance = Some(Assurance::High);
        world.route("sealed", "99070", "*", &[&office]).encryption_required = true;
        world.route("x", "99080", "*", &[&x]);
        world.route("y", "99081", "*", &[&y]);
        world.route("absent", "99090", "*", &[&absent]);
        let more = |entry: &mut EndpointEntry, link: &str| entry.identities.push(link_identity(link));
        more(world.entry(&office), "branch");
        more(world.entry(&x), "x-alone");
        Self { network, portal, office, x, y, absent, stranger }
    }

    /// One router, `r1`.
    pub fn one_router() -> Self {
        Self::one_router_with(&Settings::new())
    }

    /// One router, `r1`, with these settings over the usual ones.
    pub fn one_router_with(settings: &Settings) -> Self {
        let mut scene = Self::new();
        scene.network.publish();
        scene.network.start("r1", settings);
        scene
    }

    /// Routers `r1` and `r2`, linked with each other.
    pub fn two_routers() -> Self {
        Self::two_routers_with(&Settings::new())
    }

    /// Routers `r1` and `r2`, with these settings over the usual ones.
    pub fn two_routers_with(settings: &Settings) -> Self {
        let mut scene = Self::new();
        scene.network.start_pair(settings);
        scene
    }

    /// An endpoint with its key.
    pub fn signer(&self, endpoint: &EndpointId) -> Signer {
        Signer { id: endpoint.clone(), key: self.key(endpoint) }
    }

    /// An endpoint's signing key.
    pub fn key(&self, endpoint: &EndpointId) -> SigningKey {
        self.network.world.key(endpoint)
    }

    /// TLS with the certificate of `spiffe://kernpost.test/<link>`.
    pub fn tls(&self, link: &str) -> rustls::ClientConfig {
        wire_client::tls(self.network.ca.pem(), Some(&self.network.credentials(link)))
    }

    /// An endpoint side's link to a router, after hello.
    pub async fn link(&self, link: &str, router: &str) -> Link {
        self.link_as(link, link_identity(link), Role::Endpoint, router).await
    }

    /// A link on which this side claims to be router `name`, with a good certificate of that router.
    pub async fn router_link(&self, name: &str, router: &str) -> Link {
        let id: RouterId = format!("de/router/{name}").parse().unwrap();
        self.link_as(&format!("router/{name}"), router_identity(name), Role::Router(id), router).await
    }

    /// The office attached by hand, taking large payloads; its transport lets only so many bytes of a stream come.
    pub async fn narrow_office_at(&self, router: &str, stream_window: u32) -> Link {
        let endpoint = wire_client::endpoint_with(self.tls("office"), |transport| {
            transport.stream_receive_window(stream_window.into()).max_concurrent_uni_streams(300_u32.into());
        });
        let connecting = endpoint.connect(self.network.router(router).address, "::1").unwrap();
        let connection = wire_client::within("the handshake", connecting).await.unwrap();
        let hello = Hello { largest_payload: 2 << 30, ..wire_client::hello(Role::Endpoint) };
        let mut link = Link::greet(connection, link_identity("office"), hello).await;
        link.attach(&self.signer(&self.office)).await;
        link
    }

    async fn link_as(&self, certificate: &str, identity: LinkIdentity, role: Role, router: &str) -> Link {
        Link::open(self.tls(certificate), self.network.router(router).address, identity, role).await
    }

    /// A link with one endpoint attached.
    pub async fn attached(&self, endpoint: &EndpointId, link: &str, router: &str) -> Link {
        let mut opened = self.link(link, router).await;
        opened.attach(&self.signer(endpoint)).await;
        opened
    }

    /// The portal, attached at a router.
    pub async fn portal_at(&self, router: &str) -> Link {
        self.attached(&self.portal, "portal", router).await
    }

    /// The office, attached at a router.
    pub async fn office_at(&self, router: &str) -> Link {
        self.attached(&self.office, "office", router).await
    }

    /// The office, attached at a router, where it delivers everything from now on.
    pub async fn serving_office(&self, router: &str) -> Serving {
        self.office_at(router).await.serve(self.signer(&self.office))
    }

    /// A message of the portal.
    pub fn message(&self, link: &Link, service: &str) -> Message {
        self.signer(&self.portal).message(service, WHERE, link.version())
    }

    /// A letter of the portal with some payload.
    pub fn letter(&self, link: &Link, service: &str) -> Letter {
        Letter::new(self.message(link, service), HELLO)
    }

    /// Letters signed by the portal.
    pub fn bundle(&self, letters: &[Letter]) -> RawBundle {
        RawBundle::signed(&self.key(&self.portal), letters)
    }

    /// Sends one good message from the portal to the office and waits for its receipt.
    pub async fn deliver_one(&self, portal: &mut Link) {
        let bundle = self.bundle(&[self.letter(portal, FOR_OFFICE)]);
        let settled = portal.outcomes(&bundle).await.remove(0);
        assert!(settled.is_delivered(), "{settled:?}");
        let office = self.key(&self.office);
        assert!(settled.receipt().is_signed_by(office.public()));
    }
}
