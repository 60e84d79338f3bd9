//! How the server is reached: certificates, proxies, sockets.

use crate::config::{HttpVersion, Serve, Server};
use crate::engine::transport::tls::Trust;
use crate::engine::transport::{Route, Version};
use crate::error::Error;
use crate::output::terminal::Ui;
use crate::workload::download::Fetcher;
use crate::workload::hub::Hub;

/// The Hub, from which tokenizers and datasets are downloaded: with the trust of `route`, and through the proxies that
/// the environment names, wherever the server is.
pub(super) fn hub(route: &Route, config: &Serve, ui: Ui) -> Hub {
    hub_with(&route.trust, config.connection.no_proxy, ui)
}

/// The same with the trust of a command that has no server.
pub(super) fn hub_with(trust: &Trust, no_proxy: bool, ui: Ui) -> Hub {
    let proxies = !no_proxy && !no_proxy_at_all();
    Hub::from_env(ui.terminal()).fetched_by(Fetcher::new(trust, proxies))
}

/// Whether `NO_PROXY` names every host. The rules know hosts by that, and not addresses.
fn no_proxy_at_all() -> bool {
    let named = std::env::var("NO_PROXY").or_else(|_| std::env::var("no_proxy"));
    named.is_ok_and(|hosts| hosts.trim() == "*")
}

/// The way to another server than the first, which differs in the socket alone.
pub(super) fn to(route: &Route, server: &Server) -> Route {
    Route { socket: server.socket.clone(), ..route.clone() }
}

/// Reads the certificates and the environment, and tells what is not as usual.
pub(super) fn connection(config: &Serve, ui: Ui) -> Result<Route, Error> {
    let args = &config.connection;
    let identity = args.cert.as_deref().zip(args.key.as_deref());
    let route = Route {
        socket: config.target.first().socket.clone(),
        // A proxy would look for the engine of --mock on its own machine.
        proxies: !args.no_proxy && !config.target.own && !no_proxy_at_all(),
        trust: Trust::load(args.cacert.as_deref(), identity, args.insecure)?,
        version: args.http_version.and_then(|version| match version {
            HttpVersion::Auto => None,
            HttpVersion::One => Some(Version::Http1),
            HttpVersion::Two => Some(Version::Http2),
        }),
    };
    if args.insecure {
        ui.warn(
            "--insecure: whoever answers is trusted, and gets the keys and prompts that are sent",
        );
    }
    if let Ok(url) = config.target.first().base.parse()
        && let Some(proxy) = route.proxy(&url)?
    {
        ui.status(&format!("the load goes through the proxy {}", proxy.shown));
    }
    Ok(route)
}
