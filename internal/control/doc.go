// Package control is Cairn's own API: what the command line does with a node,
// whether this process has the node open or a daemon does.
//
// A verb is one value in one file: its path, its argument and result types, and
// one function that does the work on a *cairn.Node. Call has one result, Stream
// has several that come one by one, Download writes bytes. A verb is used by its
// method Do: on a local Target it calls the function; on a daemon it sends one
// request, and the daemon calls the same function. So results, and the identity
// of errors, are the same in both cases.
//
// Arguments travel as one JSON value in the query parameter "args", bytes in
// the request's body. Results are JSON: one value, or one a line. json.go defines
// the JSON of CIDs, durations and errors. Errors keep their identity: codes
// (errors.go) name the sentinels of the library.
//
// The key types are Target, which Local and Dial make, the three forms of verbs,
// and Batch, which sends blocks and aliases to a Target and commits them. AddAll
// and Hash are functions above the verb Add. Verbs lists all verbs for the
// daemon's httpapi.Server. A Target is safe for concurrent use. Ending a range
// early, or a context, ends the work on the other side, too. Other programs use
// Kubo's paths (internal/kubo) or the library: nothing here is meant for them.
package control
