//! Sockets with options that the kernel reports.

use super::{
    Scene,
    network::{Network, connect, connect_to, connection, listen, talk},
};
use nix::{
    libc,
    sys::socket::{setsockopt, sockopt},
};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use std::{
    fs,
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd,
    time::Duration,
};

/// Sets an option that no library has: `value` is what setsockopt(2) takes.
#[expect(unsafe_code, reason = "the kernel has options that no library knows")]
pub fn set_option(socket: &Socket, level: i32, name: i32, value: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(value.len()).unwrap();
    let fd = socket.as_raw_fd();
    // SAFETY: the kernel reads `length` bytes from `value`, which is borrowed for the call.
    match unsafe { libc::setsockopt(fd, level, name, value.as_ptr().cast(), length) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// The TCP-MD5 key of the sockets that have one.
pub const MD5_KEY: &str = "a-secret-of-two";

pub fn make(network: &Network) -> Scene {
    let mut scene = Scene::default();
    set(network, &mut scene);
    reuse_port(network, &mut scene);
    fast_open(network, &mut scene);
    md5(network, &mut scene);
    upper_layers(network, &mut scene);
    congestion_controls(network, &mut scene);
    ecn(network, &mut scene);
    scene
}

/// What one call sets, on a connection each.
fn set(network: &Network, scene: &mut Scene) {
    let set_v4: [fn(&Socket); 8] = [
        |socket| socket.set_mark(0xbeef).unwrap(),
        |socket| socket.set_tos_v4(0xb8).unwrap(),
        |socket| setsockopt(socket, sockopt::Priority, &6).unwrap(),
        |socket| socket.bind_device(Some(b"to-green")).unwrap(),
        |socket| {
            let rate = 5_000_000u64.to_ne_bytes();
            set_option(socket, libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE, &rate).unwrap();
        },
        |socket| {
            let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(700));
            socket.set_tcp_keepalive(&keepalive).unwrap();
        },
        |socket| {
            setsockopt(socket, sockopt::IpFreebind, &true).unwrap();
            setsockopt(socket, sockopt::IpBindAddressNoPort, &true).unwrap();
            setsockopt(socket, sockopt::Ipv4RecvErr, &true).unwrap();
            setsockopt(socket, sockopt::IpTransparent, &true).unwrap();
        },
        |socket| {
            socket.set_tcp_mss(1000).unwrap();
            socket.set_recv_buffer_size(30_000).unwrap();
            socket.set_send_buffer_size(40_000).unwrap();
        },
    ];
    for set in set_v4 {
        let client = network.client.socket(false);
        set(&client);
        let server = connect(network, &client, network.pair(false));
        talk(&client, &server);
        scene.keep([client, server]);
    }
    let client = network.client.socket(true);
    client.set_tclass_v6(0x28).unwrap();
    client.set_mark(7).unwrap();
    let server = connect(network, &client, network.pair(true));
    talk(&client, &server);
    scene.keep([client, server]);

    let (client, server, _) = connection(network, false);
    match setsockopt(&client, sockopt::TcpRepair, &1) {
        Ok(()) => {}
        Err(error) => scene.skip("TCP_REPAIR", error),
    }
    scene.keep([client, server]);
}

fn reuse_port(network: &Network, scene: &mut Scene) {
    for _ in 0..2 {
        let listener = network.server.socket(false);
        listener.set_reuse_port(true).unwrap();
        listen(&listener, "0.0.0.0:1010".parse().unwrap());
        scene.keep([listener]);
    }
}

/// Data in the SYN; a half-open connection that has a socket already; and a connect that waits
/// for the first write.
fn fast_open(network: &Network, scene: &mut Scene) {
    // Client and server, without a cookie on either side.
    let bits = "519";
    let ends = [&network.client, &network.server];
    if !ends
        .iter()
        .all(|end| end.namespace.sysctl("net/ipv4/tcp_fastopen", bits))
    {
        return scene.skip("fast open", "net.ipv4.tcp_fastopen cannot be set");
    }
    for answer_is_lost in [false, true] {
        let pair = network.pair(false);
        let listener = network.server.socket(false);
        let queue = 5u32.to_ne_bytes();
        set_option(&listener, libc::IPPROTO_TCP, libc::TCP_FASTOPEN, &queue).unwrap();
        listen(&listener, (pair.server, 83).into());
        if answer_is_lost {
            network.server.lose(pair.client);
        }
        let client = network.client.socket(false);
        client.set_nonblocking(answer_is_lost).unwrap();
        client.bind(&SocketAddr::from((pair.client, 0)).into()).unwrap();
        let address = SocketAddr::from((pair.server, 83)).into();
        let sent = client.send_to_with_flags(b"in the SYN", &address, libc::MSG_FASTOPEN);
        assert!(sent.is_ok() || answer_is_lost, "{sent:?}");
        let server = listener.accept().unwrap().0;
        scene.keep([client, server, listener]);
    }
    let pair = network.pair(false);
    let client = network.client.socket(false);
    setsockopt(&client, sockopt::TcpFastOpenConnect, &true).unwrap();
    client
        .connect(&SocketAddr::from((pair.server, 84)).into())
        .unwrap();
    scene.keep([client]);
}

/// `struct tcp_md5sig` (include/uapi/linux/tcp.h): the peer's address (sockaddr_storage, 128
/// bytes), flags, prefix length, key length, interface, key (80 bytes).
fn md5_option(peer: IpAddr) -> [u8; 216] {
    let IpAddr::V4(peer) = peer else { unreachable!() };
    let mut option = [0; 216];
    option[..2].copy_from_slice(&2u16.to_ne_bytes());
    option[4..8].copy_from_slice(&peer.octets());
    let length = u16::try_from(MD5_KEY.len()).unwrap();
    option[130..132].copy_from_slice(&length.to_ne_bytes());
    option[136..136 + MD5_KEY.len()].copy_from_slice(MD5_KEY.as_bytes());
    option
}

fn md5(network: &Network, scene: &mut Scene) {
    let pair = network.pair(false);
    let (listener, client) = (network.server.socket(false), network.client.socket(false));
    for (socket, peer) in [(&listener, pair.client), (&client, pair.server)] {
        if let Err(error) = set_option(socket, libc::IPPROTO_TCP, libc::TCP_MD5SIG, &md5_option(peer)) {
            return scene.skip("TCP-MD5", error);
        }
    }
    listen(&listener, (pair.server, 179).into());
    let server = connect_to(&client, &listener, pair);
    talk(&client, &server);
    scene.keep([client, server, listener]);
}

fn upper_layers(network: &Network, scene: &mut Scene) {
    let (client, server, _) = connection(network, false);
    match set_option(&client, libc::IPPROTO_TCP, libc::TCP_ULP, b"tls") {
        Ok(()) => scene.keep([client, server]),
        Err(error) => scene.skip("upper-layer protocol tls", error),
    }
    let mptcp = |end: &super::network::End| {
        end.namespace
            .enter(|| Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP)))
    };
    match (mptcp(&network.client), mptcp(&network.server)) {
        (Ok(client), Ok(listener)) => {
            let pair = network.pair(false);
            listen(&listener, (pair.server, 85).into());
            let server = connect_to(&client, &listener, pair);
            talk(&client, &server);
            scene.keep([client, server, listener]);
        }
        (Err(error), _) | (_, Err(error)) => scene.skip("MPTCP", error),
    }
}

/// All that Linux has with information of its own, and what differs from them.
fn congestion_controls(network: &Network, scene: &mut Scene) {
    let path = "/proc/sys/net/ipv4/tcp_available_congestion_control";
    let available = network
        .client
        .namespace
        .enter(|| fs::read_to_string(path).unwrap());
    let available: Vec<&str> = available.split_whitespace().collect();
    for name in ["cubic", "reno", "bbr", "dctcp", "vegas"] {
        if !available.contains(&name) {
            scene.skip(&format!("congestion control {name}"), "not in this kernel");
            continue;
        }
        let client = network.client.socket(false);
        client.set_tcp_congestion(name.as_bytes()).unwrap();
        let server = connect(network, &client, network.pair(false));
        talk(&client, &server);
        scene.keep([client, server]);
    }
}

/// Congestion notification, and the accurate kind of Linux 6.18 (3) where there is one.
fn ecn(network: &Network, scene: &mut Scene) {
    for value in ["1", "3"] {
        let ends = [&network.client, &network.server];
        if !ends
            .iter()
            .all(|end| end.namespace.sysctl("net/ipv4/tcp_ecn", value))
        {
            scene.skip("ECN", format!("net.ipv4.tcp_ecn cannot be set to {value}"));
            continue;
        }
        let (client, server, _) = connection(network, false);
        talk(&client, &server);
        scene.keep([client, server]);
    }
    for end in [&network.client, &network.server] {
        end.namespace.sysctl("net/ipv4/tcp_ecn", "2");
    }
}
