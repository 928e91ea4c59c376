//! Connections: how many, how long, and their end. A client that reads nothing is cut off:
//! its answer, and with it its slots, would wait for it for ever.

use super::ServeOptions;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;

/// Takes connections until `stop` is ready, then waits for those that are still
/// being answered, as long as they may.
pub(super) async fn accept(
    listener: TcpListener,
    router: Router,
    options: &ServeOptions,
    stop: impl Future<Output = ()>,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(options.arrival);
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(options.connections));
    let mut stop = std::pin::pin!(stop);
    loop {
        let next = async {
            let place = places.clone().acquire_owned().await.ok();
            (connection(&listener).await, place)
        };
        // Listening to `stop` begins when it is polled: before anybody is answered.
        let (stream, place) = tokio::select! {
            biased;
            () = &mut stop => break,
            next = next => next,
        };
        let service = TowerToHyperService::new(router.clone());
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(options.stall));
        let stream = TokioIo::new(Box::pin(stream));
        let served = graceful.watch(http.serve_connection(stream, service));
        tokio::spawn(async move {
            if let Err(error) = served.await {
                log::debug!("a connection ended: {error}");
            }
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(options.grace, graceful.shutdown()).await.is_err() {
        log::warn!("some answers were cut off");
    }
}

/// The next connection. Errors are those of one connection, or of a process
/// with too many files, which others may close.
async fn connection(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Tokens are small, and each should go out at once.
                let _ = stream.set_nodelay(true);
                return stream;
            }
            Err(error) => {
                log::warn!("a connection was not made: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
