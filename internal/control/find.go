package control

import (
	"context"
	"encoding/hex"
	"iter"
	"sync"
	"time"

	"github.com/cairn-ipfs/cairn"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
)

// A Finding is one result of a lookup: a provider, a peer's addresses, or, with a
// trace, a question that the lookup asked.
type Finding struct {
	// Type is "provider", "peer" or "question".
	Type   string `json:"type"`
	Source string `json:"source"`
	// PeerID is empty if a question was not for a peer.
	PeerID    string   `json:"peerId,omitempty"`
	Addresses []string `json:"addresses,omitempty"`
	Protocols []string `json:"protocols,omitempty"`
	*Question
}

// A Question is the rest of a cairn.TraceEvent.
type Question struct {
	Hop int `json:"hop,omitempty"`
	// Distance is in hexadecimal, SharedBits the number of its leading zero bits.
	Distance   string        `json:"distance,omitempty"`
	SharedBits int           `json:"sharedBits,omitempty"`
	Closer     []string      `json:"closer"`
	Providers  []string      `json:"providers"`
	Record     bool          `json:"record,omitempty"`
	Took       time.Duration `json:"took"`
	Error      string        `json:"error,omitempty"`
}

// FindArgs name content. Trace asks for the questions, too.
type FindArgs struct {
	CID   cid.Cid `json:"cid"`
	Trace bool    `json:"trace,omitempty"`
}

// FindProviders looks for providers, as cairn.Node.FindProviders does.
var FindProviders = Stream[FindArgs, Finding]{
	Path: "find/providers",
	Run: func(ctx context.Context, n *cairn.Node, a FindArgs) iter.Seq2[Finding, error] {
		return lookup(ctx, a.Trace, func(ctx context.Context) iter.Seq2[cairn.Provider, error] {
			return n.FindProviders(ctx, a.CID)
		}, func(p cairn.Provider) Finding {
			return Finding{Type: "provider", Source: p.Source, PeerID: p.ID.String(), Addresses: texts(p.Addrs), Protocols: p.Protocols}
		})
	},
}

// FindPeerArgs name a peer. Trace asks for the questions, too.
type FindPeerArgs struct {
	PeerID peer.ID `json:"peerId"`
	Trace  bool    `json:"trace,omitempty"`
}

// FindPeer looks for a peer's addresses, as cairn.Node.FindPeer does.
var FindPeer = Stream[FindPeerArgs, Finding]{
	Path: "find/peer",
	Run: func(ctx context.Context, n *cairn.Node, a FindPeerArgs) iter.Seq2[Finding, error] {
		return lookup(ctx, a.Trace, func(ctx context.Context) iter.Seq2[cairn.PeerAddrs, error] {
			return n.FindPeer(ctx, a.PeerID)
		}, func(p cairn.PeerAddrs) Finding {
			return Finding{Type: "peer", Source: p.Source, PeerID: p.ID.String(), Addresses: texts(p.Addrs)}
		})
	},
}

// lookup yields what find yields, and with a trace the questions, in the order in
// which they come.
func lookup[T any](ctx context.Context, trace bool, find func(context.Context) iter.Seq2[T, error], finding func(T) Finding) iter.Seq2[Finding, error] {
	return gathered(ctx, func(ctx context.Context, emit func(Finding) bool) error {
		if trace {
			var mu sync.Mutex
			over := false
			defer func() {
				mu.Lock()
				defer mu.Unlock()
				over = true
			}()
			ctx = cairn.WithTrace(ctx, func(e cairn.TraceEvent) {
				mu.Lock()
				defer mu.Unlock()
				if !over { // a few events come late
					emit(questionOf(e))
				}
			})
		}
		for found, err := range find(ctx) {
			if err != nil {
				return err
			}
			if !emit(finding(found)) {
				break
			}
		}
		return nil
	})
}

func questionOf(e cairn.TraceEvent) Finding {
	q := &Question{
		Hop: e.Hop, SharedBits: e.Prefix, Closer: peerIDs(e.Closer), Providers: peerIDs(e.Providers), Record: e.Value, Took: e.Took,
	}
	if e.Err != nil {
		q.Error = e.Err.Error()
	}
	f := Finding{Type: "question", Source: e.Source, Question: q}
	if e.Peer != "" {
		f.PeerID, q.Distance = e.Peer.String(), hex.EncodeToString(e.Distance[:])
	}
	return f
}

func texts(addrs []multiaddr.Multiaddr) []string {
	var all []string
	for _, a := range addrs {
		all = append(all, a.String())
	}
	return all
}

func peerIDs(peers []peer.AddrInfo) []string {
	all := []string{}
	for _, p := range peers {
		all = append(all, p.ID.String())
	}
	return all
}
