//! Bugs that seeds found, each told again in a few lines.

use super::{
    Random,
    kernel::{Kernel, Profile},
    mortal_disk::MortalDisk,
    simulated_disk::SimulatedDisk,
};
use std::{cell::RefCell, io::ErrorKind, path::PathBuf, rc::Rc};
use xtcp2::{
    output::{Identity, Message, Queue, Transmission, Transmitted},
    spool::{Options, Spool},
};

fn message(envelope_sequence: u64) -> Message {
    Message {
        identity: Identity {
            instance_id: 1,
            envelope_sequence,
            part: 0,
        },
        poll_sequence: 1,
        first_record_counter: envelope_sequence,
        rows: 1,
        bytes: vec![7; 100],
    }
}

/// The disk was full when the message came, so it was in memory alone. While its first half was with the
/// receiver the disk took it; its copy in memory was let go, and the second half never went out.
#[test]
fn message_that_is_half_out_when_the_disk_takes_it_goes_out_whole() {
    let mut random = Random(1);
    let profile = Profile::of(&mut random);
    let kernel = Rc::new(RefCell::new(Kernel::new(random, profile, None)));
    let disk = MortalDisk::new(SimulatedDisk::new(1), &kernel);
    let options = Options {
        dir: PathBuf::from("simulated"),
        bytes_max: 1 << 20,
        format: "test".to_owned(),
    };
    let (spool, waiting) = Spool::recover(disk.clone(), &options).unwrap();
    let mut queue = Queue::on_disk(1000, spool, waiting);
    disk.disk.space.set(0);
    queue.push(vec![message(1)]);
    assert!(!queue.is_on_disk());

    let mut transmission = Transmission::default();
    let mut room = 50;
    let mut step = |queue: &mut Queue<MortalDisk>, more: usize| {
        room += more;
        let sent = transmission.step(queue, &[], |bytes| {
            let sent = bytes.len().min(room);
            room -= sent;
            if sent > 0 {
                Ok(sent)
            } else {
                Err(ErrorKind::WouldBlock.into())
            }
        });
        sent.unwrap()
    };
    assert_eq!(step(&mut queue, 0), Transmitted::More);
    disk.disk.space.set(usize::MAX);
    queue.push(vec![message(2)]);
    assert!(queue.is_on_disk());
    assert_eq!(step(&mut queue, 1000), Transmitted::Drained);
    assert_eq!(queue.counters.delivered.messages, 2);
    assert!(queue.is_empty());
}
