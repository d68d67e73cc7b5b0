//! How do operators act on a running router? HTTP over a Unix socket, every request attributed to the account at the other end.
//!
//! The running router holds the spool, so the commands of `kernpost-router spool` come here. [`desk`] works on them, [`proposals`]
//! makes two people agree, [`audit`] is what stays on record, [`pages`] what is said over the socket. A thread of its own:
//! nothing here can make the message path wait. The other interface, [`crate::admin`], only shows, and is open to the loopback.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::post;
use serde::Serialize;
use tokio::sync::oneshot;

pub mod account;
pub mod audit;
pub mod desk;
mod listener;
pub mod message_name;
pub mod pages;
pub mod proposals;
mod reading;

pub use account::Account;
pub use desk::Desk;
pub use message_name::MessageName;

use desk::DeskFault;
use listener::AskedBy;
use pages::{
    AuditQuestion, ConfirmQuestion, DiscardQuestion, ListQuestion, MessageQuestion, PayloadQuestion,
    QuarantineQuestion, RedeliverQuestion,
};

/// The socket of operators cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// The file.
    #[error("{}: {error}; admin.socket must be a path of at most 100 bytes in a folder this user may write to", path.display())]
    Bind {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// The group.
    #[error("admin.operators_group: this machine has no group {0}; make it, or name another")]
    Group(String),
    /// The thread or its runtime.
    #[error("the operators' thread: {0}; look at the process limits (ulimit -u, -n)")]
    Thread(#[source] io::Error),
}

/// Where operators' commands are answered; stops when dropped.
#[derive(Debug)]
pub struct OperatorSocket {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl OperatorSocket {
    /// Binds `path`, for its owner alone or also for a group, and starts answering.
    ///
    /// # Errors
    /// The path cannot be used, the group is unknown, or no thread can be had.
    pub fn start(path: &Path, group: Option<&str>, desk: Desk) -> Result<Self, OperatorError> {
        let group = match group {
            Some(name) => Some(account::group_id(name).ok_or_else(|| OperatorError::Group(name.to_owned()))?),
            None => None,
        };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(OperatorError::Thread)?;
        let listener = {
            let _inside = runtime.enter();
            listener::bind(path, group).map_err(|error| OperatorError::Bind { path: path.to_owned(), error })?
        };
        let service = routes(desk).into_make_service_with_connect_info::<AskedBy>();
        let (stop, stopped) = oneshot::channel::<()>();
        let serve = move || {
            runtime.block_on(async move {
                tokio::select! {
                    result = axum::serve(listener, service).into_future() => {
                        if let Err(error) = result {
                            tracing::error!(%error, "the operators' socket stopped");
                        }
                    }
                    _ = stopped => {}
                }
            });
        };
        let thread =
            std::thread::Builder::new().name("kp-operators".to_owned()).spawn(serve).map_err(OperatorError::Thread)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for OperatorSocket {
    fn drop(&mut self) {
        // Whether the thread still listens or is gone: it ends either way.
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

type Shared = State<Arc<Desk>>;

/// Every page is asked by POST: nothing is cached, and nothing that names a message stands in an address.
fn routes(desk: Desk) -> Router {
    Router::new()
        .route("/spool/list", post(async |State(desk): Shared, Json(q): Json<ListQuestion>| told(desk.list(&q).await)))
        .route(
            "/spool/quarantined",
            post(async |State(desk): Shared, Json(q): Json<QuarantineQuestion>| told(desk.quarantined(&q).await)),
        )
        .route(
            "/spool/show",
            post(async |State(desk): Shared, By(by): By, Json(q): Json<MessageQuestion>| {
                told(desk.show(&by, &q.message).await)
            }),
        )
        .route(
            "/spool/export",
            post(async |State(desk): Shared, By(by): By, Json(q): Json<MessageQuestion>| {
                told(desk.export(&by, &q.message).await)
            }),
        )
        .route(
            "/spool/payload",
            post(async |State(desk): Shared, By(by): By, Json(q): Json<PayloadQuestion>| {
                told(desk.payload(&by, &q).await)
            }),
        )
        .route(
            "/spool/redeliver",
            post(async |State(desk): Shared, By(by): By, Json(q): Json<RedeliverQuestion>| {
                told(desk.redeliver(&by, q).await)
            }),
        )
        .route(
            "/spool/discard",
            post(async |State(desk): Shared, By(by): By, Json(q): Json<DiscardQuestion>| {
                told(desk.propose(&by, q).await)
            }),
        )
        .route(
            "/spool/confirm",
            post(async |State(desk): Shared, By(by): By, Json(q): Json<ConfirmQuestion>| {
                told(desk.confirm(&by, q.number).await)
            }),
        )
        .route("/spool/proposals", post(async |State(desk): Shared| told(Ok(desk.waiting_proposals()))))
        .route("/spool/rotate", post(async |State(desk): Shared, By(by): By| told(desk.rotate(&by).await)))
        .route(
            "/spool/audit",
            post(async |State(desk): Shared, Json(q): Json<AuditQuestion>| told(desk.audit(&q).await)),
        )
        .fallback(|| async { refuse(StatusCode::NOT_FOUND, "no such page: command and router differ in version") })
        .layer(DefaultBodyLimit::max(LARGEST_QUESTION))
        .with_state(Arc::new(desk))
}

/// The account at the other end.
struct By(Account);

impl<S: Send + Sync> FromRequestParts<S> for By {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        match ConnectInfo::<AskedBy>::from_request_parts(parts, state).await {
            Ok(ConnectInfo(AskedBy(Some(account)))) => Ok(Self(account)),
            _ => Err(refuse(StatusCode::FORBIDDEN, "the kernel does not say whose connection this is")),
        }
    }
}

fn told<T: Serialize>(answer: Result<T, DeskFault>) -> Response {
    let fault = match answer {
        Ok(page) => return Json(page).into_response(),
        Err(fault) => fault,
    };
    let status = match &fault {
        DeskFault::NotHeld(_) => StatusCode::NOT_FOUND,
        DeskFault::Asked(_) => StatusCode::BAD_REQUEST,
        DeskFault::Proposal(_) => StatusCode::FORBIDDEN,
        DeskFault::Unreadable(_) | DeskFault::Spool(_) => StatusCode::INTERNAL_SERVER_ERROR,
        DeskFault::Stopped(_) | DeskFault::Stopping => StatusCode::SERVICE_UNAVAILABLE,
    };
    refuse(status, &fault.to_string())
}

fn refuse(code: StatusCode, error: &str) -> Response {
    (code, Json(serde_json::json!({ "error": error }))).into_response()
}

/// 256 names of messages and a reason, with room.
const LARGEST_QUESTION: usize = 64 << 10;
