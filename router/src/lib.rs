//! The shell of a Kernpost router: everything around the sans-IO core that touches the world.
//!
//! An operator's view, in the order of starting: [`config`] reads the TOML file, [`check`] looks at everything it names
//! ([`tls`], [`identity`], [`directory`]) and says all that is wrong; what it prepared is what runs. [`observed`] holds
//! the snapshots the threads publish, from which [`admin`], [`metrics`] and [`readiness`] answer. [`pki`] makes
//! certificates, [`cli`] is the command line.
//!
//! A running router, in the order of a message: [`run`] starts the threads; a [`worker`] owns sockets ([`socket`]) to which
//! [`steering`] brings the packets of its connections ([`connection_id`], [`link_secret`]), lets newcomers in ([`handshakes`]),
//! carries its [`link`]s and drives its engine; [`control_task`] drives the control side,
//! [`directory_task`] puts new tables into force; [`custody`] keeps what nobody can take now, and [`operators`] lets people act on
//! that; [`channels`] says what they tell each other, [`drain`] when to stop.

pub mod admin;
pub mod channels;
pub mod check;
pub mod cli;
pub mod clock;
pub mod clock_watch;
pub mod config;
pub mod connection_id;
pub mod control_task;
pub mod custody;
pub mod directory;
pub mod directory_task;
pub mod drain;
pub mod handshakes;
pub mod identity;
pub mod kernel_clock;
pub mod link;
pub mod link_secret;
pub mod metrics;
pub mod observed;
pub mod operators;
pub mod peer_addresses;
pub mod pki;
pub mod problem;
pub mod readiness;
pub mod run;
pub mod socket;
pub mod state_folder;
pub mod steering;
pub mod tls;
pub mod worker;
