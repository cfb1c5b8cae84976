/*
 * Preloaded into a worker by a test: ends it when the test is gone, even killed, as the channel between them closes.
 * A worker that listens for hosts has no other way to know.
 */
process.once("disconnect", () => process.exit());
// The channel alone keeps no worker alive.
process.channel?.unref();
