package kubo

import (
	"maps"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
)

// Config is what the verbs need besides the node. The zero value is valid.
type Config struct {
	// Version and Commit are the result of the verb version. Empty: unknown.
	Version, Commit string
	// Shutdown ends the daemon; it must not wait for requests. Nil: the verb
	// shutdown is refused.
	Shutdown func()
}

func (c Config) agent() string { return "cairn/" + c.Version }

// A call is one request to one of Kubo's verbs.
type call struct {
	*httpapi.Call
	node   *cairn.Node
	config Config
}

// A verb is an httpapi.Verb whose function is a method of call.
type verb struct {
	run         func(*call) error
	least, most int
	body        bool
	scope       httpapi.Scope
}

// Verbs returns Kubo's verbs by path. The node must stay open while they are
// served.
func Verbs(n *cairn.Node, config Config) map[string]httpapi.Verb {
	all := make(map[string]httpapi.Verb)
	for path, v := range maps.All(verbs()) {
		all[path] = httpapi.Verb{
			Least: v.least, Most: v.most, Body: v.body, Scope: v.scope, Message: message,
			Run: func(c *httpapi.Call) error { return v.run(&call{c, n, config}) },
		}
	}
	return all
}
