//! The commands that ask the network and print what comes back.

use crate::args::{Global, Provide};
use crate::client::{self, Need, Session};
use crate::commands::key::offline_node;
use crate::data_dir::DataDir;
use crate::engine::no_daemon;
use crate::exit::{Exit, Failure};
use crate::output::{Output, note};
use crate::protocol::{Event, Request};

/// Runs one request and prints its events.
pub(crate) async fn ask(
    request: Request,
    need: Need,
    global: &Global,
    home: &DataDir,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut session = Session::open(global, home, need).await?;
    let result = session.run(request, &mut |event| output.event(&event)).await;
    session.close().await;
    result
}

/// `kadmos id`: the daemon's answer, or what the directory knows.
pub(crate) async fn id(global: &Global, home: &DataDir, output: &mut Output) -> Result<(), Failure> {
    if let Some(mut daemon) = client::daemon(global, home).await? {
        let timeout = global.timeout.map(|span| span.0);
        return daemon.run(Request::Id {}, timeout, &mut |event| output.event(&event)).await;
    }
    output.event(&Event::Node(offline_node(home)?))
}

/// `kadmos status`: exit code 1 when not all is well, which is what is printed.
pub(crate) async fn status(global: &Global, home: &DataDir, output: &mut Output) -> Result<(), Failure> {
    let mut daemon = client::daemon(global, home).await?.ok_or_else(no_daemon)?;
    let timeout = global.timeout.map(|span| span.0);
    let mut healthy = true;
    let on_event = &mut |event| {
        if let Event::Status(status) = &event {
            healthy = status.is_healthy();
        }
        output.event(&event)
    };
    daemon.run(Request::Status {}, timeout, on_event).await?;
    if healthy { Ok(()) } else { Err(Failure::new(Exit::Failed, "")) }
}

/// A request that only a daemon takes.
pub(crate) async fn ask_daemon(
    request: Request,
    global: &Global,
    home: &DataDir,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut daemon = client::daemon(global, home).await?.ok_or_else(no_daemon)?;
    let timeout = global.timeout.map(|span| span.0);
    daemon.run(request, timeout, &mut |event| output.event(&event)).await
}

/// `kadmos provide`.
pub(crate) async fn provide(
    args: Provide,
    global: &Global,
    home: &DataDir,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut session = Session::open(global, home, Need::Listener).await?;
    let request = Request::Provide { content: args.content.text };
    let result = session.run(request, &mut |event| output.event(&event)).await;
    if result.is_ok() && !session.is_daemon() {
        if args.keep {
            note("Announced; staying up until interrupted.");
            // The caller ends this on a signal.
            std::future::pending::<()>().await;
        }
        note(
            "The node that was announced ends now, so the announcement points at nobody. Use --keep, or run `kadmos serve` first.",
        );
    }
    session.close().await;
    result
}
