//! What std and the C library would bring: entry point, allocator, panic handler, memory routines, two system calls.
//!
//! Linux on x86-64 only. The one place in the repository with unsafe code: nothing here is part of Kadmos.

use core::alloc::{GlobalAlloc, Layout};
use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::panic::PanicInfo;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicUsize, Ordering};

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
compile_error!("the no_std check knows the system calls of Linux on x86-64 only");

// The kernel enters with a stack aligned to 16 bytes and no return address.
global_asm!(".globl _start", "_start:", "xor ebp, ebp", "call {start}", "ud2", start = sym start);

extern "C" fn start() -> ! {
    match crate::check() {
        Ok(()) => {
            write(1, b"kadmos-core ran without std\n");
            exit(0)
        }
        Err(reason) => {
            write(2, reason.as_bytes());
            write(2, b"\n");
            exit(1)
        }
    }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    write(2, b"panicked\n");
    exit(101)
}

/// Bytes to allocate from, ever; the check needs a few hundred kilobytes.
const ARENA: usize = 16 << 20;

/// Hands out each byte of a fixed arena once and takes none back.
struct Bump {
    arena: UnsafeCell<[u8; ARENA]>,
    used: AtomicUsize,
}

// SAFETY: one thread; and every byte is handed out at most once.
unsafe impl Sync for Bump {}

#[global_allocator]
static ALLOCATOR: Bump = Bump { arena: UnsafeCell::new([0; ARENA]), used: AtomicUsize::new(0) };

// SAFETY: blocks are aligned, within the arena and never overlap, because `used` only grows.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let base = self.arena.get().cast::<u8>();
        let address = base as usize + self.used.load(Ordering::Relaxed);
        let begin = address.next_multiple_of(layout.align()) - base as usize;
        match begin.checked_add(layout.size()).filter(|end| *end <= ARENA) {
            Some(end) => {
                self.used.store(end, Ordering::Relaxed);
                // SAFETY: `begin <= end <= ARENA`.
                unsafe { base.add(begin) }
            }
            None => null_mut(),
        }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

fn write(fd: usize, bytes: &[u8]) {
    // SAFETY: `write` reads `bytes` and no more. Its result does not matter: the exit code tells.
    unsafe {
        asm!("syscall", inlateout("rax") 1usize => _, in("rdi") fd, in("rsi") bytes.as_ptr(), in("rdx") bytes.len(),
            out("rcx") _, out("r11") _, options(nostack, readonly));
    }
}

fn exit(code: i32) -> ! {
    // SAFETY: `exit_group` does not return.
    unsafe { asm!("syscall", in("rax") 231, in("rdi") code, options(noreturn, nostack)) }
}

// The compiler calls these by name. String instructions, because a loop would be compiled to a call of itself.

/// SAFETY of each: the caller's, as in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the caller's, as in C.
    unsafe {
        asm!("rep movsb", inout("rcx") count => _, inout("rdi") to => _, inout("rsi") from => _, options(nostack));
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    if (to as usize).wrapping_sub(from as usize) >= count {
        // SAFETY: the caller's, as in C; a forward copy is right when `to` is not inside `from`.
        return unsafe { memcpy(to, from, count) };
    }
    // SAFETY: the caller's, as in C. Backwards, and the direction flag cleared again, as the ABI demands.
    unsafe {
        asm!("std", "rep movsb", "cld", inout("rcx") count => _,
            inout("rdi") to.wrapping_add(count).wrapping_sub(1) => _,
            inout("rsi") from.wrapping_add(count).wrapping_sub(1) => _, options(nostack));
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, count: usize) -> *mut u8 {
    // SAFETY: the caller's, as in C.
    unsafe {
        asm!("rep stosb", inout("rcx") count => _, inout("rdi") to => _, in("al") byte as u8, options(nostack));
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    for index in 0..count {
        // SAFETY: the caller's, as in C. Volatile, so that the loop is not recognised as a memcmp.
        let (a, b) = unsafe { (a.add(index).read_volatile(), b.add(index).read_volatile()) };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    // SAFETY: the caller's, as in C.
    unsafe { memcmp(a, b, count) }
}

// The ready-made alloc crate is compiled to unwind and names these two; with panic = "abort" nothing calls them.

#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    exit(102)
}
