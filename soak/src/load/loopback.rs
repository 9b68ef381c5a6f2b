//! The loopback of a new namespace: up, and slow if wanted. By netlink, since a process for each namespace
//! costs more than the namespace.

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};
use std::{os::fd::AsRawFd, process::Command};

/// RTM_NEWLINK of linux/rtnetlink.h.
const NEW_LINK: u16 = 16;
/// NLM_F_REQUEST and NLM_F_ACK.
const REQUEST_AND_ACKNOWLEDGE: u16 = 1 | 4;
/// NLMSG_ERROR, which also says that all is well.
const ERROR: u16 = 2;
/// LOOPBACK_IFINDEX: the first interface of every namespace.
const LOOPBACK: i32 = 1;
/// IFF_UP.
const UP: u32 = 1;
/// struct nlmsghdr and struct ifinfomsg.
const REQUEST_BYTES: usize = 16 + 16;
/// struct nlmsghdr, an errno, and the request's header.
const ANSWER_BYTES: usize = 16 + 4 + 16;

/// Brings up the loopback of the namespace that the thread is in.
///
/// # Errors
/// When the kernel refuses: one line.
pub fn up() -> Result<(), String> {
    let said = |what: &str, error: nix::Error| format!("loopback up: {what}: {error}");
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )
    .map_err(|error| said("netlink socket", error))?;
    let mut request = [0_u8; REQUEST_BYTES];
    let mut put = |at: usize, bytes: &[u8]| request[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &32_u32.to_ne_bytes());
    put(4, &NEW_LINK.to_ne_bytes());
    put(6, &REQUEST_AND_ACKNOWLEDGE.to_ne_bytes());
    put(20, &LOOPBACK.to_ne_bytes());
    // Flags, and which of them are meant.
    put(24, &UP.to_ne_bytes());
    put(28, &UP.to_ne_bytes());
    send(netlink.as_raw_fd(), &request, MsgFlags::empty()).map_err(|error| said("send", error))?;
    let mut answer = [0_u8; ANSWER_BYTES];
    let bytes =
        recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty()).map_err(|error| said("recv", error))?;
    let kind = u16::from_ne_bytes([answer[4], answer[5]]);
    let error = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
    if bytes < 20 || kind != ERROR {
        return Err(format!(
            "loopback up: expected an acknowledgement, got {bytes} bytes of type {kind}"
        ));
    }
    match error {
        0 => Ok(()),
        error => Err(said("the kernel", nix::Error::from_raw(-error))),
    }
}

/// Delays and loses what passes the loopback of the namespace that the thread is in.
///
/// # Errors
/// When there is no `tc`, or the kernel has no netem: one line.
pub fn slow_down(delay_ms: u32, loss_percent: f64) -> Result<(), String> {
    let (delay, loss) = (format!("{delay_ms}ms"), format!("{loss_percent}%"));
    let arguments = [
        // netem holds what is under way; its usual 1,000 packets are few for thousands of connections.
        "qdisc", "add", "dev", "lo", "root", "netem", "limit", "100000", "delay", &delay, "loss", &loss,
    ];
    let output = Command::new("tc")
        .args(arguments)
        .output()
        .map_err(|error| format!("tc: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "tc {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}
