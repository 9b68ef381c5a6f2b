use super::*;
use crate::output::stdio::Stdio;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::{
    fs::File,
    io::Read,
    os::{fd::AsFd, unix::net::UnixStream},
};

fn drive(fd: impl AsFd, options: Options) -> Driver {
    let epoll = Epoll::new().unwrap();
    let mut queue = Queue::new(options.queue_bytes_max);
    let stdio = Stdio::open("stdout", fd.as_fd(), &options, &epoll, &mut queue).unwrap();
    let kind = Kind::Stdio(stdio);
    let read_at = None;
    let credentials = options.credentials;
    let output = Output {
        queue,
        kind,
        read_at,
        credentials,
    };
    Driver::new(epoll, output)
}

#[test]
fn a_pipe_is_never_waited_for_and_stays_blocking_for_others() {
    let (read, write) = nix::unistd::pipe().unwrap();
    let mut driver = drive(&write, Options::default());
    for sequence in 0..10 {
        driver.offer(message(sequence, 50_000));
    }
    assert!(!driver.output.is_idle(), "a pipe does not hold that much");
    driver.assert_quiet();
    let flags = OFlag::from_bits_retain(fcntl(&write, FcntlArg::F_GETFL).unwrap());
    assert!(!flags.contains(OFlag::O_NONBLOCK));
    fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    let mut read = File::from(read);
    let (mut buffer, mut got) = ([0; 4096], 0);
    driver.run_until("all read", |_| {
        while let Ok(count @ 1..) = read.read(&mut buffer) {
            got += count;
        }
        got == 500_000
    });
    driver.run_until_idle();
    driver.assert_quiet();
}

#[test]
fn a_reader_that_went_away_closes_the_output_even_when_idle() {
    for offer_first in [true, false] {
        let (read, write) = nix::unistd::pipe().unwrap();
        let mut driver = drive(&write, Options::default());
        drop(read);
        if offer_first {
            driver.offer(message(0, 10));
        }
        driver.run_until("closed", Output::is_closed);
        driver.offer(message(1, 10));
        assert!(driver.output.is_idle());
        assert!(driver.counters().dropped(DropReason::WriteError).messages > 0);
        driver.assert_quiet();
        driver.output.shutdown();
        assert!(driver.output.is_closed());
    }
}

#[test]
fn a_socket_works_as_well() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let options = Options {
        preamble: b"h\n".to_vec(),
        ..Options::default()
    };
    let mut driver = drive(&ours, options);
    driver.offer(message(0, 2));
    driver.offer(message(1, 2));
    let mut got = [0; 6];
    theirs.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"h\naabb");
    drop(theirs);
    driver.run_until("closed", Output::is_closed);
}

#[test]
fn a_regular_file_and_a_full_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rows");
    let mut driver = drive(File::create(&path).unwrap(), Options::default());
    driver.offer(message(0, 3 << 20));
    driver.run_until_idle();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 3 << 20);

    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut driver = drive(full, Options::default());
    driver.offer(message(0, 10));
    driver.run_until("two tries", |output| output.counters().errors == 2);
    assert!(!driver.output.is_idle() && !driver.output.is_closed());
    driver.output.shutdown();
    assert!(!driver.output.is_closed(), "no reader left: rows were lost");
    assert_eq!(driver.counters().dropped(DropReason::Shutdown).messages, 1);
}
