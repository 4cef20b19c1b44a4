// Package call is how a client calls the server of a log: how it connects, when
// it tries again, and what a refusal says.
//
// It trusts nothing that a server says, except for how long to wait, and that
// for a minute at most. It keeps nothing; all functions may be called
// concurrently.
//
// A call that fails for a reason that passes is made again: the server cannot be
// reached or is silent for two minutes, has too much to do, waits for its
// witnesses, or is shutting down. Between two tries lies what the server asks
// for, at most a minute, else 0.1 s, doubling up to 10 s, spread by chance. It
// ends with success, with another error, after so many attempts, or when ctx
// ends or would end before the next try.
package call
