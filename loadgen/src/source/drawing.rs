//! What is the next message? Recipient, class, size and payload, drawn from the job's seed.
//!
//! Payloads are slices of one buffer of random bytes made at the start: drawing one copies nothing.

use anyhow::{Context, Result};
use bytes::Bytes;
use kernpost_codecs::{Ars, Class, EndpointId, ServiceKey};
use rand::prelude::*;
use rand::rngs::SmallRng;

use crate::scenario::PayloadShare;
use crate::talk::SourceJob;

/// Random bytes beyond the largest payload, so that slices begin at different places.
const SLACK: usize = 1 << 20;

/// A message to be sent, but for its id.
#[derive(Debug)]
pub struct Drawn {
    /// Index of the sender.
    pub sender: EndpointId,
    /// Service key.
    pub service: ServiceKey,
    /// Jurisdiction.
    pub jurisdiction: Ars,
    /// Priority.
    pub class: Class,
    /// Payload.
    pub payload: Bytes,
    /// Whether the sink is to reject it.
    pub reject: bool,
    /// Whether it goes to a recipient that is slow on purpose.
    pub slow: bool,
}

/// Draws messages.
#[derive(Debug)]
pub struct Drawing {
    random: SmallRng,
    senders: Vec<EndpointId>,
    next_sender: usize,
    targets: Vec<(ServiceKey, Ars)>,
    slow: Vec<(ServiceKey, Ars)>,
    slow_share: f64,
    shares: Vec<PayloadShare>,
    weights: f64,
    classes: [u32; 3],
    rejected: f64,
    noise: Bytes,
}

impl Drawing {
    /// Prepares to draw for these senders.
    ///
    /// # Errors
    /// A route key of the job is none, or it has none.
    pub fn new(job: &SourceJob, senders: Vec<EndpointId>) -> Result<Self> {
        anyhow::ensure!(!senders.is_empty(), "no endpoint of {} can send", job.config.display());
        let mut random = SmallRng::seed_from_u64(job.seed);
        let (slow, slow_share) = job.slow.as_ref().map_or((Vec::new(), 0.0), |(keys, share)| (keys.clone(), *share));
        let largest = job.payload.iter().map(|share| share.to).max().unwrap_or(0);
        let mut noise = vec![0; usize::try_from(largest)?.saturating_add(SLACK)];
        random.fill_bytes(&mut noise);
        let targets = route_keys(&job.targets)?;
        anyhow::ensure!(!targets.is_empty(), "there is no route key to send to");
        Ok(Self {
            random,
            senders,
            next_sender: 0,
            targets,
            slow: route_keys(&slow)?,
            slow_share,
            weights: job.payload.iter().map(|share| share.weight).sum(),
            shares: job.payload.clone(),
            classes: job.classes,
            rejected: job.rejected,
            noise: Bytes::from(noise),
        })
    }

    /// The next message.
    ///
    /// # Errors
    /// Never, for a drawing that could be made.
    pub fn draw(&mut self) -> Result<Drawn> {
        let sender = self.senders.get(self.next_sender).context("there is a sender")?.clone();
        self.next_sender = (self.next_sender + 1) % self.senders.len();
        let slow = !self.slow.is_empty() && self.random.random_bool(self.slow_share);
        let targets = if slow { &self.slow } else { &self.targets };
        let (service, jurisdiction) = *targets.choose(&mut self.random).context("there is a route key")?;
        let length = self.length();
        let start = self.random.random_range(0..SLACK);
        let payload = self.noise.slice(start..start + length);
        let reject = self.rejected > 0.0 && self.random.random_bool(self.rejected);
        Ok(Drawn { sender, service, jurisdiction, class: self.class(), payload, reject, slow })
    }

    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sizes")]
    fn length(&mut self) -> usize {
        let share = if let [only] = self.shares.as_slice() {
            *only
        } else {
            let mut left = self.random.random_range(0.0..self.weights);
            let chosen = self.shares.iter().find(|share| {
                left -= share.weight;
                left < 0.0
            });
            chosen.or(self.shares.last()).copied().unwrap_or(PayloadShare::exactly(1))
        };
        if share.from >= share.to {
            return usize::try_from(share.from).unwrap_or(1);
        }
        // Every order of magnitude is equally likely.
        let (low, high) = ((share.from.max(1) as f64).ln(), (share.to as f64).ln());
        let drawn = self.random.random_range(low..high).exp() as u64;
        usize::try_from(drawn.clamp(share.from, share.to)).unwrap_or(1)
    }

    fn class(&mut self) -> Class {
        let all: u32 = self.classes.iter().sum();
        let mut left = if self.classes.iter().filter(|weight| **weight > 0).count() == 1 {
            0
        } else {
            self.random.random_range(0..all.max(1))
        };
        for (class, weight) in Class::ALL.into_iter().zip(self.classes) {
            if left < weight {
                return class;
            }
            left -= weight;
        }
        Class::Interactive
    }
}

fn route_keys(texts: &[(String, String)]) -> Result<Vec<(ServiceKey, Ars)>> {
    let one = |(service, jurisdiction): &(String, String)| {
        let service = service.parse::<ServiceKey>().with_context(|| format!("service {service}"))?;
        let jurisdiction = jurisdiction.parse::<Ars>().with_context(|| format!("jurisdiction {jurisdiction}"))?;
        Ok((service, jurisdiction))
    };
    texts.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn job() -> SourceJob {
        SourceJob {
            config: "none".into(),
            targets: vec![("99050012104000".to_owned(), "147130000000".to_owned())],
            slow: None,
            payload: vec![PayloadShare::exactly(1_024)],
            classes: [0, 1, 0],
            rejected: 0.0,
            in_flight: 1,
            timeout_ms: 1,
            checks_per_s: 0,
            seed: 7,
        }
    }

    fn drawing(job: &SourceJob) -> Drawing {
        Drawing::new(job, vec!["de/a".parse().unwrap(), "de/b".parse().unwrap()]).unwrap()
    }

    #[test]
    fn senders_take_turns_and_the_same_seed_draws_the_same() {
        let (mut one, mut two) = (drawing(&job()), drawing(&job()));
        for number in 0..100 {
            let (a, b) = (one.draw().unwrap(), two.draw().unwrap());
            assert_eq!((&a.sender, &a.payload), (&b.sender, &b.payload));
            assert_eq!(a.sender.as_str(), if number % 2 == 0 { "de/a" } else { "de/b" });
            assert_eq!((a.payload.len(), a.class), (1_024, Class::Interactive));
        }
    }

    #[test]
    fn sizes_stay_within_their_shares_and_reach_both_ends() {
        let shares =
            vec![PayloadShare { weight: 1.0, from: 256, to: 1 << 20 }, PayloadShare { weight: 1.0, from: 10, to: 10 }];
        let mut drawing = drawing(&SourceJob { payload: shares, ..job() });
        let lengths: Vec<usize> = (0..4_000).map(|_| drawing.draw().unwrap().payload.len()).collect();
        assert!(lengths.iter().all(|length| *length == 10 || (256..=1 << 20).contains(length)));
        let tens = lengths.iter().filter(|length| **length == 10).count();
        assert!((1_700..2_300).contains(&tens), "{tens}");
        assert!(
            lengths.iter().any(|length| *length > 500_000) && lengths.iter().any(|length| (256..512).contains(length))
        );
    }

    #[test]
    fn rejections_classes_and_slow_recipients_get_their_share() {
        let slow = Some((vec![("99001001000000".to_owned(), "010010000000".to_owned())], 0.25));
        let mut drawing = drawing(&SourceJob { rejected: 0.1, classes: [1, 0, 3], slow, ..job() });
        let drawn: Vec<Drawn> = (0..4_000).map(|_| drawing.draw().unwrap()).collect();
        let share = |holds: &dyn Fn(&Drawn) -> bool| drawn.iter().filter(|drawn| holds(drawn)).count();
        assert!((300..500).contains(&share(&|drawn| drawn.reject)));
        assert!((850..1_150).contains(&share(&|drawn| drawn.class == Class::Urgent)));
        assert!((850..1_150).contains(&share(&|drawn| drawn.jurisdiction.to_string().starts_with("01"))));
        assert_eq!(share(&|drawn| drawn.class == Class::Interactive), 0);
    }
}
