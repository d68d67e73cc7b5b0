//! Is the kernel's clock synchronised? The one call for which rustix has no form: `adjtimex` with `modes = 0`, which asks and
//! changes nothing.

use std::io;
use std::mem::MaybeUninit;

/// Whether something (an NTP or PTP client) keeps the kernel's clock synchronised.
///
/// # Errors
/// The kernel does not say: the call is forbidden, as under systemd's `ProtectClock=yes`.
pub fn is_synchronised() -> io::Result<bool> {
    let mut timex = MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: every field of `timex` is an integer, for which zero is valid. The pointer is good for one of them during the call;
    // with `modes` zero the kernel only fills it in.
    #[expect(unsafe_code, reason = "the kernel answers this through adjtimex only")]
    let (state, timex) = unsafe { (libc::adjtimex(timex.as_mut_ptr()), timex.assume_init()) };
    if state < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0)
}
