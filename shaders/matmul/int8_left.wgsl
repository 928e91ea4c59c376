// Words of a block of 32 rounded elements of A, as `matmul/int8_rows` leaves them.
const RECORD: u32 = 11u;
