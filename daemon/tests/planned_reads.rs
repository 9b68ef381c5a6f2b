//! Each namespace is read in the cheapest way, and nothing that was there is missing: against a kernel
//! in memory that fails, races and lies where a real one hardly ever does.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure here is a failed test"
)]

mod common;

use common::{
    seen::{Outcome, Poller, Reads, options},
    simulated::{Answer, Asked, Simulated, Socket, truth},
};
use std::{cell::Cell, collections::VecDeque, rc::Rc, time::Duration};
use xtcp2::{
    netlink::{inet_diag::States, receive_batch::SLOT_BYTES},
    poll::PollOptions,
};

const LISTEN_DUMP: Asked = Asked::Dump(States::LISTEN.bits());
const SKIP: Reads = Reads {
    skips: 1,
    look_ups: 0,
    look_ups_then_walks: 0,
    walks: 0,
};
const LOOK_UPS: Reads = Reads {
    skips: 0,
    look_ups: 1,
    ..SKIP
};
const WALK: Reads = Reads {
    skips: 0,
    walks: 1,
    ..SKIP
};
const LOOK_UPS_THEN_WALK: Reads = Reads {
    skips: 0,
    look_ups_then_walks: 1,
    ..SKIP
};
/// The namespace of most tests.
const NETNS: u64 = 5;

/// A kernel and the polls of it.
struct Bench {
    world: Simulated,
    poller: Poller<Simulated>,
}

impl Bench {
    /// With one namespace, of which the first poll has seen all.
    fn knows(sockets: impl IntoIterator<Item = Socket>) -> Bench {
        Bench::knows_with(options(), sockets)
    }

    fn knows_with(options: PollOptions, sockets: impl IntoIterator<Item = Socket>) -> Bench {
        let mut bench = Bench::empty(options);
        bench.world.add(NETNS, sockets);
        assert_eq!(bench.poll().reads, WALK);
        bench
    }

    fn empty(options: PollOptions) -> Bench {
        Bench {
            world: Simulated::new(),
            poller: Poller::new(options),
        }
    }

    /// A poll, a second after the last one. Where it waits, only its time-out can help.
    fn poll(&mut self) -> Outcome {
        self.world.pass(Duration::from_secs(1));
        self.poller
            .poll(&mut self.world, |world, until| world.now = until)
    }

    /// A poll that has to see what there is at its end.
    fn complete_poll(&mut self) -> Outcome {
        let outcome = self.poll();
        for (netns, cookies) in truth(&self.world) {
            assert_eq!(outcome.cookies(netns), cookies, "namespace {netns}");
        }
        outcome
    }

    fn sockets(&mut self) -> &mut Vec<Socket> {
        &mut self.world.namespaces[0].sockets
    }

    /// `change` happens once, when the counts are read already and nothing else is.
    fn after_counts(&mut self, change: impl Fn(&mut common::simulated::Namespace) + 'static) {
        let mut done = false;
        self.world.before = Some(Box::new(move |asked, namespace| {
            if asked == LISTEN_DUMP && !std::mem::replace(&mut done, true) {
                change(namespace);
            }
        }));
    }

    /// Damages the answers to the next look-ups, once.
    fn damage(&mut self, damage: impl Fn(&mut VecDeque<Answer>) + 'static) {
        let mut done = false;
        self.world.tamper = Some(Box::new(move |asked, answers| {
            if matches!(asked, Asked::LookUps(_)) && !std::mem::replace(&mut done, true) {
                damage(answers);
            }
        }));
    }
}

fn established(cookies: std::ops::Range<u64>) -> impl Iterator<Item = Socket> {
    cookies.map(Socket::established)
}

fn first_datagram(answers: &mut VecDeque<Answer>) -> &mut Vec<u8> {
    match &mut answers[0] {
        Answer::Datagram(datagram) => datagram,
        Answer::Error(errno) => panic!("expected a reply, got errno {errno}"),
    }
}

#[test]
fn namespace_without_sockets_is_skipped() {
    let mut bench = Bench::empty(options());
    bench.world.add(NETNS, []);
    let outcome = bench.complete_poll();
    assert_eq!(outcome.reads, SKIP);
    assert_eq!(bench.world.asked, [(0, Asked::Counts)], "nothing but the counts");
}

#[test]
fn namespace_with_nothing_but_time_wait_is_not_skipped() {
    let mut bench = Bench::empty(options());
    bench.world.add(NETNS, [Socket::time_wait(1)]);
    assert_eq!(bench.complete_poll().reads, WALK);
}

#[test]
fn known_sockets_are_looked_up_in_batches() {
    let sockets = established(1..201).chain([Socket::listener(900), Socket::request(901)]);
    let mut bench = Bench::knows(sockets);
    for _ in 0..3 {
        assert_eq!(bench.complete_poll().reads, LOOK_UPS);
        let asked: Vec<Asked> = bench.world.asked.iter().map(|(_, asked)| *asked).collect();
        let batches = [64, 64, 64, 9].map(Asked::LookUps);
        assert_eq!(asked[..2], [Asked::Counts, LISTEN_DUMP]);
        assert_eq!(asked[2..], batches, "201 sockets that do not listen");
    }
}

#[test]
fn socket_that_is_not_found_has_gone() {
    let mut bench = Bench::knows(established(1..11));
    bench.world.namespaces[0].close(3);
    assert_eq!(bench.complete_poll().reads, LOOK_UPS);
    assert_eq!(bench.poller.poll.counters().look_ups_gone, 1);
    assert_eq!(bench.complete_poll().reads, LOOK_UPS);
    assert_eq!(bench.poller.poll.counters().look_ups_gone, 1, "asked for once");
}

#[test]
fn more_than_known_is_walked_at_once() {
    let mut bench = Bench::knows(established(1..11));
    bench.sockets().push(Socket::established(11));
    assert_eq!(bench.complete_poll().reads, WALK);
    assert_eq!(bench.complete_poll().reads, LOOK_UPS);
}

#[test]
fn one_for_one_is_found_out_and_walked_in_the_same_poll() {
    let mut bench = Bench::knows(established(1..11));
    bench.world.namespaces[0].close(3);
    bench.sockets().push(Socket::established(11));
    // No row twice: Poller asserts it.
    assert_eq!(bench.complete_poll().reads, LOOK_UPS_THEN_WALK);
    assert_eq!(bench.complete_poll().reads, LOOK_UPS);
}

#[test]
fn unanswered_look_ups_are_asked_again() {
    let mut bench = Bench::knows(established(1..101));
    bench.damage(|answers| answers.truncate(20));
    assert_eq!(bench.complete_poll().reads, LOOK_UPS);
    let counters = bench.poller.poll.counters();
    assert_eq!((counters.look_ups_repeated, counters.look_ups_gone), (44, 0));
}

#[test]
fn overrun_is_counted_and_what_was_dropped_is_asked_again() {
    let mut bench = Bench::knows(established(1..101));
    bench.damage(|answers| {
        answers.drain(30..40);
        answers.insert(30, Answer::Error(libc::ENOBUFS));
        answers.push_front(Answer::Error(libc::EINTR));
    });
    assert_eq!(bench.complete_poll().reads, LOOK_UPS);
    let counters = bench.poller.poll.counters();
    assert_eq!((counters.overrun, counters.look_ups_repeated), (1, 10));
}

#[test]
fn look_ups_that_are_never_answered_end_in_a_walk() {
    let mut bench = Bench::knows(established(1..101));
    bench.world.tamper = Some(Box::new(|asked, answers| {
        if matches!(asked, Asked::LookUps(_)) {
            answers.truncate(7);
        }
    }));
    assert_eq!(bench.complete_poll().reads, LOOK_UPS_THEN_WALK);
    assert_eq!(bench.poller.poll.counters().look_ups_gone, 0);
}

#[test]
fn late_answers_are_passed_over() {
    let mut bench = Bench::knows(established(1..11));
    bench.damage(|answers| {
        let mut late = answers[0].clone();
        if let Answer::Datagram(datagram) = &mut late {
            datagram[8..12].copy_from_slice(&0xffff_u32.to_ne_bytes());
        }
        let twice = answers[1].clone();
        answers.push_front(late);
        answers.push_back(twice);
    });
    assert_eq!(bench.complete_poll().reads, LOOK_UPS);
    assert_eq!(bench.poller.poll.counters().unexpected, 2);
}

/// Offsets in a datagram: struct nlmsghdr has 16 bytes, the id of struct inet_diag_msg begins at its
/// byte 4 and ends with the cookie.
#[test]
fn answer_about_another_socket_ends_in_a_walk() {
    const PORT_AT: usize = 16 + 4;
    const COOKIE_AT: usize = 16 + 4 + 40;
    const FAMILY_AT: usize = 16;
    for at in [FAMILY_AT, PORT_AT, COOKIE_AT] {
        let mut bench = Bench::knows(established(1..11));
        bench.damage(move |answers| first_datagram(answers)[at] ^= 0x40);
        assert_eq!(bench.complete_poll().reads, LOOK_UPS_THEN_WALK, "byte {at}");
    }
}

#[test]
fn answer_that_is_no_message_ends_in_a_walk() {
    for length in [10, 16 + 40] {
        let mut bench = Bench::knows(established(1..11));
        bench.damage(move |answers| {
            let datagram = first_datagram(answers);
            datagram.truncate(length);
            if length > 16 {
                datagram[0] = u8::try_from(length).unwrap();
            }
        });
        assert_eq!(
            bench.complete_poll().reads,
            LOOK_UPS_THEN_WALK,
            "{length} bytes of it"
        );
    }
}

#[test]
fn answer_that_does_not_fit_ends_in_a_walk() {
    let mut bench = Bench::knows(established(1..11));
    bench.sockets()[4].padding_bytes = u16::try_from(SLOT_BYTES).unwrap();
    assert_eq!(bench.complete_poll().reads, LOOK_UPS_THEN_WALK);
}

#[test]
fn refusal_says_nothing_of_the_socket() {
    for errno in [libc::EPERM, libc::EINVAL, libc::ESTALE, 0] {
        let mut bench = Bench::knows(established(1..11));
        bench.world.namespaces[0].close(1);
        bench.damage(move |answers| first_datagram(answers)[16..20].copy_from_slice(&(-errno).to_ne_bytes()));
        assert_eq!(bench.complete_poll().reads, LOOK_UPS_THEN_WALK, "errno {errno}");
    }
}

#[test]
fn look_ups_that_cannot_be_sent_end_in_a_walk() {
    for errno in [libc::EAGAIN, libc::ENOBUFS, libc::EPERM] {
        let mut bench = Bench::knows(established(1..11));
        bench.world.before = Some(Box::new(|_, _| {}));
        let errors = Rc::new(Cell::new(0));
        let sent = errors.clone();
        bench.world.tamper = Some(Box::new(move |asked, answers| {
            if matches!(asked, Asked::LookUps(_)) {
                sent.set(sent.get() + 1);
                answers.clear();
                answers.push_back(Answer::Error(errno));
            }
        }));
        assert_eq!(bench.complete_poll().reads, LOOK_UPS_THEN_WALK, "errno {errno}");
        assert!(errors.get() >= 1);
    }
}

/// What the counts have not, but look-ups find, must not make up for what look-ups do not find.
#[test]
fn request_that_becomes_a_socket_after_the_counts_hides_nothing() {
    let sockets = || established(1..11).chain([Socket::request(11)]);
    // Nothing new behind it; a new one behind it; and one that goes, so that counts taken again
    // afterwards say no more than was found.
    for (has_new, one_goes) in [(false, false), (true, false), (true, true)] {
        let mut bench = Bench::knows(sockets());
        bench.world.namespaces[0].close(1);
        if has_new {
            bench.sockets().push(Socket::established(99));
        }
        bench.after_counts(|namespace| namespace.turn(Socket::established(11)));
        if one_goes {
            let before = bench.world.before.take();
            let mut before = before.unwrap();
            let mut look_ups_done = false;
            bench.world.before = Some(Box::new(move |asked, namespace| {
                match asked {
                    Asked::LookUps(_) => look_ups_done = true,
                    Asked::Counts if look_ups_done => namespace.close(2),
                    _ => {}
                }
                before(asked, namespace);
            }));
        }
        let outcome = bench.poll();
        assert_eq!(
            outcome.cookies(NETNS).contains(&99),
            has_new,
            "{has_new} {one_goes}: {:?}",
            outcome.reads
        );
        bench.world.before = None;
        bench.complete_poll();
    }
}

#[test]
fn request_that_became_a_socket_before_the_counts_is_one_row() {
    let mut bench = Bench::knows(established(1..11).chain([Socket::request(11)]));
    bench.world.namespaces[0].turn(Socket::established(11));
    bench.complete_poll();
    assert_eq!(bench.complete_poll().reads, LOOK_UPS);
}

#[test]
fn request_that_ends_in_time_wait_after_the_counts_hides_nothing() {
    let mut bench = Bench::knows([Socket::established(1), Socket::time_wait(2), Socket::request(3)]);
    bench.world.namespaces[0].close(2);
    bench.sockets().push(Socket::time_wait(99));
    bench.after_counts(|namespace| namespace.turn(Socket::time_wait(3)));
    assert!(bench.poll().cookies(NETNS).contains(&99));
}

#[test]
fn socket_that_goes_to_time_wait_after_the_counts_hides_nothing() {
    let mut bench = Bench::knows([
        Socket::established(1),
        Socket::time_wait(2),
        Socket::established(3),
    ]);
    bench.world.namespaces[0].close(2);
    bench.sockets().push(Socket::time_wait(99));
    bench.after_counts(|namespace| namespace.turn(Socket::time_wait(3)));
    assert!(bench.poll().cookies(NETNS).contains(&99));
}

#[test]
fn listener_that_appears_after_the_counts_hides_nothing() {
    // The same number of listeners as before, or one more.
    for one_goes in [true, false] {
        let mut bench = Bench::knows(established(1..11).chain([Socket::listener(20)]));
        if one_goes {
            bench.world.namespaces[0].close(20);
        } else {
            bench.world.namespaces[0].close(1);
        }
        bench.sockets().push(Socket::established(99));
        bench.after_counts(|namespace| namespace.sockets.push(Socket::listener(21)));
        let outcome = bench.poll();
        assert!(
            outcome.cookies(NETNS).contains(&99),
            "one goes: {one_goes}, {:?}",
            outcome.reads
        );
        bench.world.before = None;
        assert_eq!(bench.complete_poll().reads, LOOK_UPS);
    }
}

#[test]
fn listener_that_comes_or_goes_is_seen() {
    let mut bench = Bench::knows(established(1..11).chain([Socket::listener(20)]));
    bench.sockets().push(Socket::listener(21));
    bench.complete_poll();
    bench.world.namespaces[0].close(20);
    assert_eq!(bench.complete_poll().reads, LOOK_UPS);
    bench.sockets().push(Socket::listener(22));
    bench.world.namespaces[0].close(21);
    bench.complete_poll();
    assert_eq!(bench.complete_poll().reads, LOOK_UPS);
}

/// What came after the counts is no longer new in the next poll, whatever went.
#[test]
fn listener_that_replaces_another_after_the_counts_is_known_from_then_on() {
    let mut bench = Bench::knows(established(1..11).chain([Socket::listener(20)]));
    bench.world.namespaces[0].close(20);
    bench.after_counts(|namespace| namespace.sockets.push(Socket::listener(21)));
    for _ in 0..2 {
        assert_eq!(bench.complete_poll().reads, LOOK_UPS);
    }
}

#[test]
fn sockets_that_go_during_the_look_ups_cost_a_walk_and_hide_nothing() {
    let mut bench = Bench::knows(established(1..101));
    bench.world.namespaces[0].close(1);
    bench.sockets().push(Socket::established(200));
    bench.after_counts(|namespace| namespace.close(2));
    assert_eq!(bench.complete_poll().reads, LOOK_UPS_THEN_WALK);
}

#[test]
fn time_wait_is_counted_only_where_it_becomes_rows() {
    let new_time_wait = |states: &str| {
        let options = PollOptions {
            states: states.parse().unwrap(),
            ..options()
        };
        let mut bench = Bench::knows_with(options, established(1..11));
        bench.sockets().push(Socket::time_wait(99));
        bench.poll()
    };
    let outcome = new_time_wait("ESTABLISHED,LISTEN");
    assert_eq!(outcome.reads, LOOK_UPS);
    assert_eq!(outcome.rows.len(), 10);
    for states in ["TIME_WAIT", "FIN_WAIT2", "all"] {
        assert_eq!(new_time_wait(states).reads, WALK, "{states}");
    }
}

#[test]
fn states_that_are_not_wanted_are_no_rows_but_are_counted() {
    let options = PollOptions {
        states: "ESTABLISHED".parse().unwrap(),
        ..options()
    };
    let sockets = established(1..11).chain([Socket::listener(20), Socket::time_wait(30)]);
    let mut bench = Bench::knows_with(options, sockets);
    for _ in 0..2 {
        let outcome = bench.poll();
        assert_eq!((outcome.reads, outcome.rows.len()), (LOOK_UPS, 10));
    }
}

#[test]
fn every_namespace_is_walked_every_so_often_and_not_all_at_once() {
    const NAMESPACES: usize = 200;
    const WALK_EVERY: u64 = 60;
    let mut bench = Bench::empty(PollOptions {
        walk_every: Duration::from_secs(WALK_EVERY),
        ..options()
    });
    for cookie in 1..=NAMESPACES as u64 {
        // A request that nothing counts comes later.
        bench
            .world
            .add(cookie, established(cookie * 100..cookie * 100 + 5));
    }
    bench.poll();
    for namespace in &mut bench.world.namespaces {
        namespace
            .sockets
            .push(Socket::request(namespace.cookie.unwrap() * 100 + 50));
    }
    let mut walked = 0;
    let mut most = 0;
    let mut last = None;
    for _ in 0..WALK_EVERY {
        let outcome = bench.poll();
        walked += outcome.reads.walks;
        most = most.max(outcome.reads.walks);
        last = Some(outcome);
    }
    // A few whose share of the time was short are due a second time.
    assert!(walked <= NAMESPACES as u64 + 10, "{walked} walks");
    assert!(
        most <= NAMESPACES as u64 / 10,
        "{most} of {NAMESPACES} walked in one poll"
    );
    assert_eq!(last.unwrap().rows.len(), NAMESPACES * 6, "requests are found");
}

#[test]
fn namespace_made_again_under_the_same_name_and_inode_is_another() {
    let mut bench = Bench::knows(established(1..11));
    let namespace = &mut bench.world.namespaces[0];
    namespace.cookie = Some(NETNS + 1);
    namespace.sockets = established(101..111).collect();
    assert_eq!(bench.complete_poll().reads, WALK);
    assert!(
        !bench
            .world
            .asked
            .iter()
            .any(|(_, asked)| matches!(asked, Asked::LookUps(_)))
    );
    assert_eq!(bench.poller.poll.known_sockets().0, 10);
}

#[test]
fn namespaces_that_have_gone_are_forgotten() {
    const NAMESPACES: u64 = 200;
    const SOCKETS: u64 = 100;
    const BYTES_A_SOCKET_MAX: usize = 96;
    let mut bench = Bench::empty(options());
    for cookie in 1..=NAMESPACES {
        bench
            .world
            .add(cookie, established(cookie * 1000..cookie * 1000 + SOCKETS));
    }
    bench.complete_poll();
    for _ in 0..2 {
        let (sockets, bytes) = bench.poller.poll.known_sockets();
        assert_eq!(sockets, 20_000);
        assert!(
            bytes <= sockets * BYTES_A_SOCKET_MAX,
            "{bytes} bytes for {sockets}"
        );
        // Sockets that go give their memory back too.
        bench.complete_poll();
    }
    for namespace in &mut bench.world.namespaces {
        namespace.sockets.truncate(10);
    }
    bench.complete_poll();
    let (sockets, bytes) = bench.poller.poll.known_sockets();
    assert_eq!(sockets, 2000);
    assert!(
        bytes <= sockets * BYTES_A_SOCKET_MAX,
        "{bytes} bytes for {sockets}"
    );
    bench.world.namespaces.clear();
    bench.poll();
    assert_eq!(bench.poller.poll.known_sockets(), (0, 0));
}

#[test]
fn without_counts_every_poll_walks() {
    let mut bench = Bench::empty(options());
    bench.world.add(NETNS, established(1..11)).says_counts = false;
    for _ in 0..3 {
        assert_eq!(bench.complete_poll().reads, WALK);
    }
}

#[test]
fn counts_that_fail_once_cost_one_walk() {
    let mut bench = Bench::knows(established(1..11));
    bench.world.namespaces[0].says_counts = false;
    assert_eq!(bench.complete_poll().reads, WALK);
    bench.world.namespaces[0].says_counts = true;
    bench.complete_poll();
    assert_eq!(bench.complete_poll().reads, LOOK_UPS);
}

#[test]
fn without_a_cookie_every_poll_walks() {
    let mut bench = Bench::empty(options());
    bench.world.add(NETNS, established(1..11)).cookie = None;
    for _ in 0..3 {
        assert_eq!(bench.complete_poll().reads, WALK);
    }
    assert_eq!(bench.poller.poll.known_sockets(), (0, 0));
}

#[test]
fn without_plans_every_poll_walks() {
    let mut bench = Bench::empty(PollOptions {
        plans: false,
        ..options()
    });
    bench.world.add(NETNS, established(1..11));
    bench.world.add(NETNS + 1, []);
    for _ in 0..2 {
        assert_eq!(bench.complete_poll().reads, Reads { walks: 2, ..WALK });
    }
}

/// The one that is bound to an interface is not found behind the one that is not.
#[test]
fn sockets_that_differ_in_nothing_but_the_interface_are_always_walked() {
    let unbound = Socket::established(1);
    let bound = Socket {
        cookie: 2,
        interface: 3,
        ..unbound
    };
    for sockets in [[unbound, bound], [bound, unbound]] {
        let mut bench = Bench::knows(sockets);
        for _ in 0..5 {
            assert_eq!(bench.complete_poll().reads, WALK);
        }
        bench.world.namespaces[0].close(1);
        bench.complete_poll();
        assert_eq!(bench.complete_poll().reads, LOOK_UPS);
    }
}

#[test]
fn namespace_that_timed_out_is_walked_next_time() {
    let mut bench = Bench::knows(established(1..11));
    bench.damage(|answers| {
        answers.clear();
    });
    let slow = Rc::new(Cell::new(true));
    bench.world.charges.look_up = Duration::from_secs(60);
    bench.poll();
    assert_eq!(bench.poller.poll.counters().timed_out, 1);
    bench.world.charges.look_up = Duration::from_micros(3);
    slow.set(false);
    assert_eq!(bench.complete_poll().reads, WALK);
}

#[test]
fn where_walks_are_cheaper_namespaces_are_walked() {
    let mut bench = Bench::empty(options());
    bench.world.charges.walk = Duration::from_micros(60);
    bench.world.add(NETNS, established(1..101));
    for _ in 0..3 {
        assert_eq!(bench.complete_poll().reads, WALK);
    }
}

/// Every second, a connection goes and another comes: the kernel never counts more than before, but
/// says that connections were opened.
#[test]
fn planner_learns_that_look_ups_fail_and_that_they_do_again() {
    let mut bench = Bench::knows(established(1..101));
    let mut tried = 0;
    for next in 1000..1040 {
        let namespace = &mut bench.world.namespaces[0];
        let oldest = namespace.sockets[0].cookie;
        namespace.close(oldest);
        namespace.sockets.push(Socket::established(next));
        namespace.opens = namespace.opens.map(|opens| opens + 1);
        tried += bench.complete_poll().reads.look_ups_then_walks;
    }
    assert!((1..15).contains(&tried), "{tried} of 40 tries that had to fail");
    // Quiet again: known by the counter of connections opened, without any failure.
    assert_eq!(bench.complete_poll().reads, LOOK_UPS);
}

/// Short connections come and go between polls: look-ups are enough every time.
#[test]
fn planner_stays_with_look_ups_when_short_connections_are_gone_again() {
    let mut bench = Bench::knows(established(1..101));
    for _ in 0..20 {
        let namespace = &mut bench.world.namespaces[0];
        namespace.opens = namespace.opens.map(|opens| opens + 50);
        assert_eq!(bench.complete_poll().reads, LOOK_UPS);
    }
}
