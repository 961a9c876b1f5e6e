//! HTTP servers that run until they are told to stop, all at once.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long running requests may take when the servers stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// HTTP servers that stop together.
pub(super) struct Servers {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Servers {
    pub(super) fn new() -> Self {
        Self {
            stop: watch::Sender::new(false),
            tasks: JoinSet::new(),
        }
    }

    pub(super) fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stop = self.stop.subscribe();
        // A closed channel means that the stack was dropped.
        async move { drop(stop.wait_for(|stop| *stop).await) }
    }

    pub(super) fn spawn(&mut self, server: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(server);
    }

    pub(super) fn serve(&mut self, listener: TcpListener, router: Router) {
        let stopped = self.stopped();
        self.spawn(async move {
            let service = router.into_make_service_with_connect_info::<SocketAddr>();
            if let Err(error) = axum::serve(listener, service)
                .with_graceful_shutdown(stopped)
                .await
            {
                tracing::error!(%error, "a server ended");
            }
        });
    }

    pub(super) async fn stop(mut self) {
        self.stop.send_replace(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_TIMEOUT, all).await.is_err() {
            tracing::warn!("requests were still running when the stack stopped");
        }
    }
}
