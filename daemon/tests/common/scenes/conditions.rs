//! Connections with something in their queues, or with losses behind them.

use super::{
    Scene,
    network::{Network, connect, connection, talk},
};
use socket2::Socket;
use std::{io::Write, thread::sleep, time::Duration};

/// Longer than the first retransmissions take.
const LOSSES: Duration = Duration::from_millis(700);

pub fn make(network: &Network) -> Scene {
    let mut scene = Scene::default();
    for v6 in [false, true] {
        unread(network, v6, &mut scene);
        full(network, v6, &mut scene);
        unacknowledged(network, v6, &mut scene);
        recovered(network, v6, &mut scene);
    }
    scene
}

/// Bytes that the server does not read.
fn unread(network: &Network, v6: bool, scene: &mut Scene) {
    let (client, server, _) = connection(network, v6);
    talk(&client, &server);
    (&client).write_all(&[0; 5000]).unwrap();
    scene.keep([client, server]);
}

/// More bytes than the server has room for: its window is shut, the client probes it.
fn full(network: &Network, v6: bool, scene: &mut Scene) {
    let client = network.client.socket(v6);
    client.set_send_buffer_size(60_000).unwrap();
    let server = connect(network, &client, network.pair(v6));
    server.set_recv_buffer_size(8000).unwrap();
    fill(&client);
    scene.keep([client, server]);
}

fn fill(mut client: &Socket) {
    client.set_nonblocking(true).unwrap();
    while let Ok(1..) = client.write(&[0; 4096]) {}
}

/// Bytes that get lost again and again.
fn unacknowledged(network: &Network, v6: bool, scene: &mut Scene) {
    let (client, server, pair) = connection(network, v6);
    // Keeps a slow-start threshold, which bbr does not.
    client.set_tcp_congestion(b"cubic").unwrap();
    talk(&client, &server);
    network.client.lose(pair.server);
    for _ in 0..5 {
        (&client).write_all(&[0; 3000]).unwrap();
    }
    scene.keep([client, server]);
}

/// A hole that was filled: later segments arrived first.
fn recovered(network: &Network, v6: bool, scene: &mut Scene) {
    let (client, server, pair) = connection(network, v6);
    client.set_tcp_nodelay(true).unwrap();
    talk(&client, &server);
    network.client.lose(pair.server);
    (&client).write_all(&[0; 1000]).unwrap();
    network.client.reach(pair.server);
    for _ in 0..6 {
        (&client).write_all(&[0; 1000]).unwrap();
    }
    sleep(LOSSES);
    talk_behind(&client, &server, 7000);
    scene.keep([client, server]);
}

/// Reads what is there, then talks on.
fn talk_behind(client: &Socket, mut server: &Socket, unread: usize) {
    std::io::Read::read_exact(&mut server, &mut vec![0; unread]).unwrap();
    talk(client, server);
}
