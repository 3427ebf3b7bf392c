// Limits and times. Each may be looked up; those of a client are in its configuration.

export const WSE_VERSION = "2.5.1";
/** What is said to servers, which know clients of 2.x by it. */
export const WS_CLIENT_VERSION = "2.5.1";
export const WS_PROTOCOL_VERSION = 1;

/** A ping is sent so often, in milliseconds. */
export const HEARTBEAT_INTERVAL = 15_000;
/** Without any frame for so long a connection is given up, in milliseconds. */
export const IDLE_TIMEOUT = 40_000;
/** An attempt to connect may take so long, and then the greeting, in milliseconds. */
export const CONNECTION_TIMEOUT = 10_000;
/** After a wake from sleep a connection has so long to show that it lives, in milliseconds. */
export const PROBE_TIMEOUT = 5_000;

/** The largest message that is taken, in bytes, decompressed. Larger ones count as protocol errors. */
export const MESSAGE_BYTES_MAX = 1_048_576;
/** The largest frame: such a message, and what encryption adds. */
export const FRAME_BYTES_MAX = MESSAGE_BYTES_MAX + 64;
/** Frames that may wait for decompression or decryption. Beyond it the connection is given up, and recovers. */
export const INBOUND_FRAMES_MAX = 10_000;
/** Bytes that may wait so. */
export const INBOUND_BYTES_MAX = 64 * 1_048_576;
/** Bytes that a socket may hold unsent before messages wait in the queue instead. */
export const SOCKET_BUFFER_MAX = 4 * 1_048_576;

/** The rate of messages sent: so many at once, and so many more each second. */
export const RATE_LIMIT_CAPACITY = 1_000;
export const RATE_LIMIT_REFILL = 100;

/** Message ids that are remembered against repeats, and for how long, in milliseconds. */
export const DUPLICATE_IDS_MAX = 10_000;
export const DUPLICATE_AGE_MAX = 300_000;
/** Topics whose position is remembered. Beyond it the longest unused one is forgotten. */
export const POSITIONS_MAX = 10_000;
/** A request for missing messages is answered within so long, in milliseconds, or they count as lost. */
export const RECOVERY_TIMEOUT = 10_000;
/** Topics in one request; more go into several. */
export const TOPICS_PER_REQUEST = 100;
/** Latest errors that are kept. */
export const ERROR_HISTORY_MAX = 50;
