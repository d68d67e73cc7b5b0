//! What can an operator ask a running router? HTTP on the IPv6 loopback, on a thread of its own.
//!
//! `/livez`, `/readyz`, `/metrics`, `/status`, `/explain`, `/directory`. Every answer is made from published snapshots:
//! nothing here can make the message path wait. There is no authentication, hence the loopback; nothing here changes
//! anything.

use std::net::SocketAddrV6;
use std::sync::Arc;
use std::thread::JoinHandle;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use kernpost_codecs::{Ars, ServiceKey};
use serde::Deserialize;
use tokio::sync::oneshot;

use crate::metrics::{Metrics, MetricsError};
use crate::observed::Observed;

mod status;

pub use status::{
    AttachmentLine, CustodyPage, DirectoryPage, LedgerPage, LinkLine, ReadyPage, StatusPage, WorkerLine, ZoneLine,
};

/// The admin interface cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The address cannot be bound.
    #[error("admin interface on [{}]:{}: {error}; choose another admin.listen", address.ip(), address.port())]
    Bind {
        /// Which.
        address: SocketAddrV6,
        /// Why not.
        #[source]
        error: std::io::Error,
    },
    /// Metrics cannot be registered.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The thread or its runtime cannot be started.
    #[error("admin thread: {0}; look at the process limits (ulimit -u, -n)")]
    Thread(#[source] std::io::Error),
}

/// A running admin interface; stops when dropped.
#[derive(Debug)]
pub struct AdminServer {
    address: SocketAddrV6,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl AdminServer {
    /// Binds `listen` and starts answering.
    ///
    /// # Errors
    /// The address is taken, or no thread can be had.
    pub fn start(listen: SocketAddrV6, observed: Arc<Observed>) -> Result<Self, AdminError> {
        let bind = |error| AdminError::Bind { address: listen, error };
        let metrics = Arc::new(Metrics::new(observed.clone())?);
        let listener = std::net::TcpListener::bind(listen).map_err(bind)?;
        listener.set_nonblocking(true).map_err(bind)?;
        let address = match listener.local_addr().map_err(bind)? {
            std::net::SocketAddr::V6(address) => address,
            std::net::SocketAddr::V4(_) => listen,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AdminError::Thread)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let routes = routes(Shared { observed, metrics });
        let serve = move || {
            runtime.block_on(async move {
                let listener = match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => listener,
                    Err(error) => {
                        tracing::error!(%error, "admin interface stopped");
                        return;
                    }
                };
                tokio::select! {
                    result = axum::serve(listener, routes).into_future() => {
                        if let Err(error) = result {
                            tracing::error!(%error, "admin interface stopped");
                        }
                    }
                    _ = stopped => {}
                }
            });
        };
        let thread =
            std::thread::Builder::new().name("kp-admin".to_owned()).spawn(serve).map_err(AdminError::Thread)?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// The address bound, with the port the kernel chose.
    #[must_use]
    pub fn address(&self) -> SocketAddrV6 {
        self.address
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        // Whether the thread still listens or is gone: it ends either way.
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[derive(Clone)]
struct Shared {
    observed: Arc<Observed>,
    metrics: Arc<Metrics>,
}

fn routes(shared: Shared) -> Router {
    Router::new()
        .route("/livez", get(|| async { "live\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .route("/explain", get(explain))
        .route("/directory", get(directory))
        .fallback(|| async {
            refuse(StatusCode::NOT_FOUND, "no such page; there are /livez /readyz /metrics /status /explain /directory")
        })
        .with_state(shared)
}

async fn readyz(State(shared): State<Shared>) -> Response {
    let page = ReadyPage::of(&shared.observed);
    let code = if page.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(page)).into_response()
}

async fn metrics(State(shared): State<Shared>) -> Response {
    match shared.metrics.text() {
        Ok(text) => {
            let kind = "text/plain; version=0.0.4; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

async fn status(State(shared): State<Shared>) -> Response {
    Json(StatusPage::of(&shared.observed)).into_response()
}

async fn directory(State(shared): State<Shared>) -> Response {
    Json(DirectoryPage::of(&shared.observed)).into_response()
}

/// The route key asked for, both halves as text so that a wrong one gets the codecs' own explanation.
#[derive(Debug, Deserialize)]
struct RouteKey {
    service: String,
    jurisdiction: String,
}

async fn explain(
    State(shared): State<Shared>,
    key: Result<Query<RouteKey>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let Ok(Query(key)) = key else {
        let usage = "ask /explain?service=<14 digits>&jurisdiction=<12 digits>";
        return refuse(StatusCode::BAD_REQUEST, usage);
    };
    let service = match key.service.parse::<ServiceKey>() {
        Ok(service) => service,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &format!("service: {error}")),
    };
    let jurisdiction = match key.jurisdiction.parse::<Ars>() {
        Ok(jurisdiction) => jurisdiction,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &format!("jurisdiction: {error}")),
    };
    let explanation = shared.observed.table().explain(service, jurisdiction);
    let code = if explanation.decision.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
    (code, Json(explanation)).into_response()
}

fn refuse(code: StatusCode, error: &str) -> Response {
    (code, Json(serde_json::json!({ "error": error }))).into_response()
}

#[cfg(test)]
mod tests;
