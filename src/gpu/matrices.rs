//! Whether a driver that lists shapes of cooperative matrices takes them.

/// Whether a device can be opened with cooperative matrices. wgpu 30 goes by the shapes that
/// a driver lists; Mesa 26's lavapipe lists some and refuses the feature where its vectors have
/// 128 bits (`LP_NATIVE_VECTOR_WIDTH=128`), and then wgpu panics.
#[cfg(any(
    target_os = "linux",
    target_os = "android",
    target_os = "windows",
    target_os = "freebsd"
))]
pub(super) fn are_offered(raw: &wgpu::Adapter) -> bool {
    use ash::vk;
    // SAFETY: the handles below are only asked questions, while the guard lives.
    let Some(adapter) = (unsafe { raw.as_hal::<wgpu::hal::api::Vulkan>() }) else { return true };
    // The question is of Vulkan 1.1.
    if adapter.shared_instance().instance_api_version() < vk::API_VERSION_1_1 {
        return false;
    }
    let instance = adapter.shared_instance().raw_instance();
    let mut matrices = vk::PhysicalDeviceCooperativeMatrixFeaturesKHR::default();
    let mut features = vk::PhysicalDeviceFeatures2::default().push_next(&mut matrices);
    let device = adapter.raw_physical_device();
    // SAFETY: the adapter is one of this instance's. A driver that does not know the structure
    // leaves it as it is.
    unsafe { instance.get_physical_device_features2(device, &mut features) };
    matrices.cooperative_matrix == vk::TRUE
}

/// Elsewhere wgpu decides by what the system itself says.
#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "windows",
    target_os = "freebsd"
)))]
pub(super) fn are_offered(_: &wgpu::Adapter) -> bool {
    true
}
