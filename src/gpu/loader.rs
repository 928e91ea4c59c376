//! Why there is no adapter: no driver, or not even the library through which
//! drivers are reached.

/// What is missing where no adapter is found, in words.
pub fn missing() -> String {
    match vulkan_loader() {
        Some(reason) => format!(
            "the Vulkan loader cannot be loaded: {reason}; it is in the package libvulkan1 of \
             Debian and Ubuntu, vulkan-loader of Fedora, vulkan-icd-loader of Arch"
        ),
        None => "no driver for Vulkan, Metal, Direct3D 12 or OpenGL".into(),
    }
}

/// Why `libvulkan.so.1` cannot be loaded, if Vulkan was to be used and it cannot.
/// `wgpu` keeps the reason to itself.
#[cfg(target_os = "linux")]
fn vulkan_loader() -> Option<String> {
    use std::ffi::{CStr, c_char, c_int, c_void};

    // Of the C library that the standard library links.
    unsafe extern "C" {
        fn dlopen(file: *const c_char, mode: c_int) -> *mut c_void;
        fn dlerror() -> *const c_char;
    }
    const RTLD_LAZY: c_int = 1;

    if wgpu::Backends::from_env().is_some_and(|asked| !asked.contains(wgpu::Backends::VULKAN)) {
        return None;
    }
    // SAFETY: the name ends with a zero byte. What is loaded is the library that
    // `wgpu` loads under the same name, so nothing runs that would not run
    // anyway. It stays loaded: unloading runs code of its own.
    let library = unsafe { dlopen(c"libvulkan.so.1".as_ptr(), RTLD_LAZY) };
    if !library.is_null() {
        return None;
    }
    // SAFETY: the message of the failure just now, or null; it lasts until this
    // thread's next call of these functions, and is copied before.
    let reason = unsafe {
        let message = dlerror();
        (!message.is_null()).then(|| CStr::from_ptr(message).to_string_lossy().into_owned())
    };
    Some(reason.unwrap_or_else(|| "libvulkan.so.1".into()))
}

/// Elsewhere the system brings the library, or `wgpu` needs none.
#[cfg(not(target_os = "linux"))]
fn vulkan_loader() -> Option<String> {
    None
}
