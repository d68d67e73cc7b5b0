//! What do applications send, how do they answer, and what are they told?

use bytes::Bytes;
use kernpost_codecs::{Class, Code, MessageId};
use kernpost_endpoint::core::{Delivery, Outgoing, Verdict};
use rand::Rng;

use super::{AUTHORITIES, PORTAL, Sent, Simulation};
use crate::network::Event;
use crate::plan::{CONTENT, generator};

impl Simulation {
    pub(super) fn on_send(&mut self, number: u64) -> Result<(), String> {
        self.to_send -= 1;
        if self.down[PORTAL] {
            return Ok(());
        }
        let now = self.endpoint_now(PORTAL);
        let mut random = [0; 10];
        random[2..].copy_from_slice(&number.to_be_bytes());
        let id = MessageId::from_parts(now.wall, random);
        let rng = &mut generator(self.plan.seed, CONTENT + number);
        let jurisdiction = if rng.random_bool(0.5) { LEIPZIG } else { DRESDEN };
        let case = rng.random_bool(0.7).then(|| rng.random_range(0..3));
        let payload = Bytes::from(vec![7; rng.random_range(0..3_000)]);
        let mut outgoing = Outgoing::new(
            id,
            self.endpoints[PORTAL].id.clone(),
            "99050012104000".parse().unwrap(),
            jurisdiction.parse().unwrap(),
            payload,
        );
        // Most of what has a case has its class too: order is promised within both.
        outgoing.class = match case {
            Some(case) if rng.random_bool(0.8) => Class::ALL[usize::from(case) % 3],
            _ => Class::ALL[rng.random_range(0..3)],
        };
        // Cases of one number in two places are two cases.
        outgoing.case = case.map(|case| Bytes::from(self.facts.name_of_case(case, jurisdiction)));
        outgoing.lifetime_s = if rng.random_bool(0.2) { rng.random_range(5..60) } else { 86_400 };
        outgoing.timeout_ms = rng.random_range(5_000..120_000);
        if self.endpoints[PORTAL].core.handle_send(now, &outgoing).is_ok() {
            let expires = now.wall.plus_ms(u64::from(outgoing.lifetime_s) * 1_000);
            let (to_city, generation) = (jurisdiction == LEIPZIG, self.table.generation());
            self.sent.insert(id, Sent { expires, to_city, generation });
            self.facts.sent(outgoing.case.as_deref(), outgoing.class, id);
            let what = format!(
                "sent to {jurisdiction}, lives {} s, timeout {} ms, {:?}, case {:?}",
                outgoing.lifetime_s, outgoing.timeout_ms, outgoing.class, outgoing.case
            );
            self.facts.note(id, self.network.now_us, what);
        }
        let effects = self.endpoints[PORTAL].effects(now);
        self.apply_endpoint(PORTAL, effects)
    }

    /// The application thinks for a while, and rejects some.
    pub(super) fn on_delivery(&mut self, at: usize, delivery: &Delivery) -> Result<(), String> {
        debug_assert!(AUTHORITIES.contains(&at), "the portal is responsible for nothing");
        let what = format!("handed over at {at}, redelivered {}", delivery.redelivered);
        self.facts.note(delivery.message.id, self.network.now_us, what);
        self.facts.handed_over(&self.endpoints[at], delivery)?;
        let rng = &mut self.network.rng;
        let verdict = if rng.random_bool(0.1) {
            Verdict::Reject { code: Code(1_000), problem: Some("form 7b is missing".to_owned()) }
        } else {
            Verdict::Accept
        };
        // Once in a while it takes minutes: longer than anybody waits for it.
        let hangs = rng.random_bool(0.01);
        let after = if hangs { rng.random_range(30_000_000..300_000_000) } else { rng.random_range(0..THINK_US) };
        let incarnation = self.endpoints[at].incarnation;
        self.thinking.insert((at, incarnation, delivery.id), (delivery.message.id, verdict));
        self.network.after(after, Event::Verdict { at, incarnation, delivery: delivery.id });
        Ok(())
    }
}

/// A city with an endpoint of its own, and one without.
const LEIPZIG: &str = "147130000000";
const DRESDEN: &str = "146120000000";
/// An application thinks at most so long about most messages, µs.
const THINK_US: u64 = 60_000;
