/*
 * Preloaded into a worker by a test: ends the worker when the channel to the test closes, so also when the test is killed.
 */
process.once("disconnect", () => process.exit());
// The channel by itself does not keep a worker alive.
process.channel?.unref();
