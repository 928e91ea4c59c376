// The status word of a run (`Place::Status` in src/kernels/kernel.rs). A kernel
// that meets a fault raises the word to the value of its parameter, which the host
// gives as `Param::Status`.
//
// The binding number is high so that a kernel may number its own from 0.

@group(0) @binding(30) var<storage, read_write> status: array<atomic<u32>>;

fn raise(code: u32) {
    atomicMax(&status[0], code);
}
