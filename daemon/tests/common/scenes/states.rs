//! A socket in every TCP state.

use super::{
    Scene,
    network::{Network, connect, connection, listen, socket, start_connecting, talk},
};
use std::{
    net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr},
    thread::sleep,
    time::Duration,
};

/// For packets to cross the cable and be looked at.
const SETTLE: Duration = Duration::from_millis(50);

pub fn make(network: &Network) -> Scene {
    let mut scene = Scene::default();
    own_namespace(network, &mut scene);
    listeners(network, &mut scene);
    for v6 in [false, true] {
        let (client, server, _) = connection(network, v6);
        talk(&client, &server);
        scene.keep([client, server]);
        opening(network, v6, &mut scene);
        closing(network, v6, &mut scene);
    }
    mapped(network, &mut scene);
    scene
}

/// A listener, both ends of a connection of each family, and a TIME_WAIT.
pub fn few(network: &Network) -> Scene {
    let mut scene = Scene::default();
    let listener = network.server.listen((Ipv6Addr::UNSPECIFIED, 443).into());
    let v4 = connection(network, false);
    v4.0.set_tcp_congestion(b"cubic").unwrap();
    let v6 = connection(network, true);
    for (client, server, _) in [v4, v6] {
        talk(&client, &server);
        scene.keep([client, server]);
    }
    time_wait(network, false);
    scene.keep([listener]);
    scene
}

/// TIME_WAIT at the client, who closes first.
fn time_wait(network: &Network, v6: bool) {
    let (client, server, _) = connection(network, v6);
    talk(&client, &server);
    client.shutdown(Shutdown::Write).unwrap();
    sleep(SETTLE);
    drop((server, client));
}

/// The namespace that the daemon is started in, over its loopback.
fn own_namespace(network: &Network, scene: &mut Scene) {
    network.own.enter(|| {
        for v6 in [false, true] {
            let address: SocketAddr = match v6 {
                false => (Ipv4Addr::LOCALHOST, 8080).into(),
                true => (Ipv6Addr::LOCALHOST, 8080).into(),
            };
            let (listener, client) = (socket(v6), socket(v6));
            listen(&listener, address);
            client.connect(&address.into()).unwrap();
            let server = listener.accept().unwrap().0;
            talk(&client, &server);
            scene.keep([listener, client, server]);
        }
    });
}

fn listeners(network: &Network, scene: &mut Scene) {
    let any_v4 = network.server.listen((Ipv4Addr::UNSPECIFIED, 1001).into());
    let any = network.server.listen((Ipv6Addr::UNSPECIFIED, 1002).into());
    let only_v6 = network.server.socket(true);
    only_v6.set_only_v6(true).unwrap();
    listen(&only_v6, (Ipv6Addr::UNSPECIFIED, 1003).into());
    // Connections that nobody accepts.
    let pair = network.pair(false);
    for _ in 0..3 {
        let client = network.client.socket(false);
        client.bind(&SocketAddr::from((pair.client, 0)).into()).unwrap();
        client
            .connect(&SocketAddr::from((pair.server, 1001)).into())
            .unwrap();
        scene.keep([client]);
    }
    scene.keep([any_v4, any, only_v6]);
}

/// An IPv6 socket that talks IPv4.
fn mapped(network: &Network, scene: &mut Scene) {
    let pair = network.pair(false);
    let listener = network.server.listen((Ipv6Addr::UNSPECIFIED, 1004).into());
    let client = network.client.socket(true);
    let mapped = match pair.server {
        std::net::IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        std::net::IpAddr::V6(v6) => v6,
    };
    client.connect(&SocketAddr::from((mapped, 1004)).into()).unwrap();
    let server = listener.accept().unwrap().0;
    talk(&client, &server);
    scene.keep([listener, client, server]);
}

/// SYN_SENT and SYN_RECV.
fn opening(network: &Network, v6: bool, scene: &mut Scene) {
    // Nothing of the client's arrives.
    let pair = network.pair(v6);
    network.client.lose(pair.server);
    let client = network.client.socket(v6);
    client.bind(&SocketAddr::from((pair.client, 0)).into()).unwrap();
    start_connecting(&client, (pair.server, 81).into());
    scene.keep([client]);
    // The answer gets lost, to a question about the client's hardware too.
    let pair = network.pair(v6);
    network.client.reach(pair.server);
    network.server.lose(pair.client);
    let listener = network.server.listen((pair.server, 82).into());
    let client = network.client.socket(v6);
    client.bind(&SocketAddr::from((pair.client, 0)).into()).unwrap();
    start_connecting(&client, (pair.server, 82).into());
    scene.keep([client, listener]);
}

/// FIN_WAIT1, FIN_WAIT2, CLOSING, TIME_WAIT, CLOSE_WAIT and LAST_ACK.
fn closing(network: &Network, v6: bool, scene: &mut Scene) {
    // FIN_WAIT2 and CLOSE_WAIT: one side has said all, the other not.
    let (client, server, _) = connection(network, v6);
    client.shutdown(Shutdown::Write).unwrap();
    scene.keep([client, server]);

    // FIN_WAIT2 without a socket of a process: kept by the kernel as it keeps TIME_WAIT.
    let (client, server, _) = connection(network, v6);
    talk(&client, &server);
    drop(client);
    scene.keep([server]);

    time_wait(network, v6);

    // FIN_WAIT1: the FIN gets lost.
    let (client, server, pair) = connection(network, v6);
    network.client.lose(pair.server);
    client.shutdown(Shutdown::Write).unwrap();
    scene.keep([client, server]);

    // LAST_ACK: as before, after the other side has closed.
    let (client, server, pair) = connection(network, v6);
    server.shutdown(Shutdown::Write).unwrap();
    sleep(SETTLE);
    network.client.lose(pair.server);
    client.shutdown(Shutdown::Write).unwrap();
    scene.keep([client, server]);

    // CLOSING: both FINs under way, the server's arrives.
    let (client, server, pair) = connection(network, v6);
    network.client.lose(pair.server);
    client.shutdown(Shutdown::Write).unwrap();
    server.shutdown(Shutdown::Write).unwrap();
    scene.keep([client, server]);

    // Not even a reset ends a connection whose reader is shut down.
    let pair = network.pair(v6);
    let client = network.client.socket(v6);
    let server = connect(network, &client, pair);
    client.shutdown(Shutdown::Read).unwrap();
    scene.keep([client, server]);
}
