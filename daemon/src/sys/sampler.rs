//! Samples the stack of the calling thread by its CPU time.
//!
//! Why not the crate pprof (0.15): walking by frame pointers, it leaves out the program counter
//! itself, so that the function where the time goes is missing from the profile; its signal handler
//! looks functions up; its start resolves a backtrace (74 ms in a program of 30 lines); and it
//! allocates 60 MiB that stay.
//!
//! What frame pointers cannot show: the direct caller of a C function that was built without them,
//! such as memcpy.
//!
//! The handler makes no system call, takes no lock and allocates nothing: it reads registers, then
//! frames between the stack pointer and the end of the stack, and stores them in a static array.

use nix::{
    sys::{
        signal::{SaFlags, SigAction, SigEvent, SigHandler, SigSet, SigevNotify, Signal, sigaction},
        time::TimeSpec,
        timer::{Expiration, Timer, TimerSetTimeFlags},
    },
    time::{ClockId, clock_gettime},
    unistd::gettid,
};
use std::{
    io,
    ops::Range,
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

/// Room for samples, in words: 60 s of 250 Hz with 34 frames each. It is zero pages (4 MiB of bss)
/// until a profile is taken.
const WORDS_MAX: usize = 1 << 19;

/// Frames of a sample; what is further out is cut off.
pub const FRAMES_MAX: usize = 64;

static WORDS: [AtomicU64; WORDS_MAX] = [const { AtomicU64::new(0) }; WORDS_MAX];
static WORDS_USED: AtomicUsize = AtomicUsize::new(0);
static SAMPLES_LOST: AtomicU64 = AtomicU64::new(0);
static STACK_END: AtomicUsize = AtomicUsize::new(0);
static RUNNING: AtomicBool = AtomicBool::new(false);

/// A running profile of the thread that started it. There is at most one in the process.
#[derive(Debug)]
pub struct Sampler {
    _timer: Timer,
    cpu_at_start: Duration,
}

/// What a profile gathered.
#[derive(Debug, Default)]
pub struct Samples {
    words: Vec<u64>,
    /// Samples for which there was no room.
    pub lost: u64,
    /// CPU time of the thread while it was sampled.
    pub cpu: Duration,
}

impl Sampler {
    /// Starts to sample the calling thread `hz` times a second of its CPU time. `stack` holds the
    /// mapping that the thread's stack is in, as /proc/self/maps tells it.
    ///
    /// # Errors
    /// EBUSY while another profile runs; else what the kernel says to a CPU-time timer.
    pub fn start(hz: u32, stack: &Range<u64>) -> io::Result<Sampler> {
        if RUNNING.swap(true, Relaxed) {
            return Err(nix::errno::Errno::EBUSY.into());
        }
        let started = start_timer(hz, stack);
        RUNNING.store(started.is_ok(), Relaxed);
        started
    }

    /// Stops, and hands over what was gathered.
    pub fn finish(self) -> Samples {
        let cpu = thread_cpu().unwrap_or_default().saturating_sub(self.cpu_at_start);
        let used = WORDS_USED.load(Relaxed).min(WORDS_MAX);
        Samples {
            words: WORDS.iter().take(used).map(|word| word.load(Relaxed)).collect(),
            lost: SAMPLES_LOST.load(Relaxed),
            cpu,
        }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        // The handler stays: a SIGPROF that is still on its way would kill the process without it.
        STACK_END.store(0, Relaxed);
        RUNNING.store(false, Relaxed);
    }
}

impl Samples {
    /// The stacks, innermost address first. All but the first address of a stack are return
    /// addresses.
    pub fn stacks(&self) -> impl Iterator<Item = &[u64]> {
        let mut rest = self.words.as_slice();
        std::iter::from_fn(move || {
            let (&length, after) = rest.split_first()?;
            let (stack, after) = after.split_at_checked(usize::try_from(length).ok()?)?;
            rest = after;
            Some(stack)
        })
    }

    #[cfg(test)]
    pub(crate) fn of(stacks: &[&[u64]], cpu: Duration) -> Samples {
        let words = stacks
            .iter()
            .flat_map(|stack| std::iter::once(stack.len() as u64).chain(stack.iter().copied()))
            .collect();
        Samples { words, lost: 0, cpu }
    }
}

fn thread_cpu() -> io::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

/// Where the walk is not written, or no timer can be aimed at a thread (musl).
#[cfg(not(all(target_env = "gnu", any(target_arch = "x86_64", target_arch = "aarch64"))))]
fn start_timer(_hz: u32, _stack: &Range<u64>) -> io::Result<Sampler> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(target_env = "gnu", any(target_arch = "x86_64", target_arch = "aarch64")))]
fn start_timer(hz: u32, stack: &Range<u64>) -> io::Result<Sampler> {
    let unsupported = || io::Error::from(io::ErrorKind::Unsupported);
    WORDS_USED.store(0, Relaxed);
    SAMPLES_LOST.store(0, Relaxed);
    STACK_END.store(usize::try_from(stack.end).map_err(|_| unsupported())?, Relaxed);

    // SA_RESTART: our sockets do not block, but a library's read of a file must not fail.
    let action = SigAction::new(
        SigHandler::SigAction(on_sigprof),
        SaFlags::SA_SIGINFO | SaFlags::SA_RESTART,
        SigSet::empty(),
    );
    // SAFETY: on_sigprof touches registers, mapped stack and atomics only, so it is
    // async-signal-safe; no other handler of SIGPROF exists in the process to be replaced.
    unsafe { sigaction(Signal::SIGPROF, &action) }?;
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGPROF);
    signals.thread_unblock()?;

    // Aimed at this thread: no thread of a library is interrupted, or has its stack read.
    let event = SigEvent::new(SigevNotify::SigevThreadId {
        signal: Signal::SIGPROF,
        thread_id: gettid().as_raw(),
        si_value: 0,
    });
    let mut timer = Timer::new(ClockId::CLOCK_THREAD_CPUTIME_ID, event)?;
    let period = TimeSpec::from_duration(Duration::from_secs(1) / hz.max(1));
    timer.set(Expiration::Interval(period), TimerSetTimeFlags::empty())?;
    Ok(Sampler {
        _timer: timer,
        cpu_at_start: thread_cpu()?,
    })
}

/// The registers a walk starts from.
struct Registers {
    program_counter: u64,
    stack_pointer: u64,
    frame_pointer: u64,
}

#[cfg(target_arch = "x86_64")]
fn registers(context: &libc::ucontext_t) -> Registers {
    let register = |index: i32| {
        let value = usize::try_from(index)
            .ok()
            .and_then(|i| context.uc_mcontext.gregs.get(i));
        value.map_or(0, |value| value.cast_unsigned())
    };
    Registers {
        program_counter: register(libc::REG_RIP),
        stack_pointer: register(libc::REG_RSP),
        frame_pointer: register(libc::REG_RBP),
    }
}

#[cfg(target_arch = "aarch64")]
fn registers(context: &libc::ucontext_t) -> Registers {
    Registers {
        program_counter: context.uc_mcontext.pc,
        stack_pointer: context.uc_mcontext.sp,
        frame_pointer: context.uc_mcontext.regs[29],
    }
}

extern "C" fn on_sigprof(_: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a siginfo_t on this stack to a handler with SA_SIGINFO.
    let info = unsafe { &*info };
    // Whoever may signal us may also send SIGPROF, to any thread: only the timer's are ours.
    if info.si_code != libc::SI_TIMER {
        return;
    }
    // SAFETY: the third argument of a handler with SA_SIGINFO is a ucontext_t on this stack.
    let context = unsafe { &*context.cast_const().cast::<libc::ucontext_t>() };
    sample(&registers(context), STACK_END.load(Relaxed) as u64);
}

/// Stores one stack. Frames must lie between the stack pointer and the end of the stack, each
/// beyond the one before: that memory is mapped, so a frame pointer used for something else (C code
/// built without frame pointers) yields a wrong address at worst.
fn sample(registers: &Registers, stack_end: u64) {
    const FRAME_BYTES: u64 = 16;
    if registers.stack_pointer >= stack_end {
        return;
    }
    let start = WORDS_USED.load(Relaxed);
    if start + 1 + FRAMES_MAX > WORDS_MAX {
        SAMPLES_LOST.fetch_add(1, Relaxed);
        return;
    }
    let put = |index: usize, word: u64| {
        if let Some(slot) = WORDS.get(start + index) {
            slot.store(word, Relaxed);
        }
    };
    put(1, registers.program_counter);
    let mut frames = 1;
    let mut lowest = registers.stack_pointer;
    let mut frame = registers.frame_pointer;
    while frames < FRAMES_MAX
        && frame >= lowest
        && frame.is_multiple_of(8)
        && frame.checked_add(FRAME_BYTES).is_some_and(|end| end <= stack_end)
    {
        let record = std::ptr::with_exposed_provenance::<[u64; 2]>(usize::try_from(frame).unwrap_or(0));
        // SAFETY: 16 aligned bytes in [stack pointer, end of the mapping that holds the stack) of
        // the thread that this handler interrupted; nobody else runs on that stack meanwhile.
        let [caller, return_address] = unsafe { record.read() };
        if return_address == 0 {
            break;
        }
        frames += 1;
        put(frames, return_address);
        lowest = frame + FRAME_BYTES;
        frame = caller;
    }
    put(0, frames as u64);
    WORDS_USED.store(start + 1 + frames, Relaxed);
}
