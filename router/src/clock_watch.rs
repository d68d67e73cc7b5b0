//! Who has to know whether the kernel's clock is synchronised? The engines and custody, which decide by it what has expired; the
//! operator, by log, metric, alarm and status.
//!
//! Asked once a second; told when it changes. A kernel that does not say counts as unsynchronised: what expires cannot be undone.

use std::io;
use std::time::Duration;

use kernpost_router_core::EngineEvent;

use crate::config::ClockSynchronisation;
use crate::kernel_clock;
use crate::observed::Observed;

/// How often the kernel is asked.
pub const EVERY: Duration = Duration::from_secs(1);

/// What was last said of the kernel's clock.
#[derive(Debug)]
pub struct ClockWatch {
    ask: fn() -> io::Result<bool>,
    synchronised: Option<bool>,
}

impl ClockWatch {
    /// As the configuration wants it.
    #[must_use]
    pub fn new(synchronisation: ClockSynchronisation) -> Self {
        let ask = match synchronisation {
            ClockSynchronisation::Kernel => kernel_clock::is_synchronised,
            ClockSynchronisation::Assumed => || Ok(true),
        };
        Self { ask, synchronised: None }
    }

    /// Asks; what engines and custody have to be told, when the answer is another than the last one.
    pub fn look(&mut self, observed: &Observed) -> Option<EngineEvent> {
        let answer = (self.ask)();
        let synchronised = matches!(answer, Ok(true));
        let before = self.synchronised.replace(synchronised);
        if before == Some(synchronised) {
            return None;
        }
        observed.set_clock_synchronised(synchronised);
        match answer {
            Ok(true) if before.is_some() => {
                tracing::info!("the kernel's clock is synchronised again: what is past its time expires")
            }
            Ok(true) => {}
            Ok(false) => {
                tracing::error!(
                    "alarm: the kernel's clock is not synchronised; nothing expires and nothing is forgotten until it is"
                );
            }
            Err(error) => {
                tracing::error!(
                    %error,
                    "alarm: the kernel does not say whether its clock is synchronised; nothing expires and nothing is forgotten until it does"
                );
            }
        }
        Some(EngineEvent::Clock { synchronised })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::observed::tests::busy;

    fn told(watch: &mut ClockWatch, observed: &Observed) -> Option<bool> {
        watch.look(observed).map(|event| match event {
            EngineEvent::Clock { synchronised } => synchronised,
            other => unreachable!("{other:?}"),
        })
    }

    fn alarms(observed: &Observed) -> u64 {
        observed.alarms.by_kind().into_iter().find(|(kind, _)| *kind == "clock_unsynchronised").unwrap().1
    }

    #[test]
    fn a_change_is_told_once_and_every_loss_of_synchronisation_is_an_alarm() {
        let observed = busy();
        let mut watch = ClockWatch { ask: || Ok(false), synchronised: None };
        assert_eq!(told(&mut watch, &observed), Some(false));
        assert_eq!(told(&mut watch, &observed), None);
        assert_eq!((observed.clock_synchronised(), alarms(&observed)), (false, 1));
        watch.ask = || Ok(true);
        assert_eq!(told(&mut watch, &observed), Some(true));
        assert_eq!((observed.clock_synchronised(), alarms(&observed)), (true, 1));
        watch.ask = || Err(io::Error::from(io::ErrorKind::PermissionDenied));
        assert_eq!(told(&mut watch, &observed), Some(false));
        assert_eq!((observed.clock_synchronised(), alarms(&observed)), (false, 2));
    }

    #[test]
    fn the_kernel_answers_and_an_assumed_clock_is_synchronised() {
        let observed = busy();
        assert_eq!(told(&mut ClockWatch::new(ClockSynchronisation::Assumed), &observed), Some(true));
        let kernel = kernel_clock::is_synchronised();
        assert_eq!(
            told(&mut ClockWatch::new(ClockSynchronisation::Kernel), &observed),
            Some(matches!(kernel, Ok(true)))
        );
    }
}
