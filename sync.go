package cairn

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/exchange"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

// ErrNoSource: nobody who was asked has what is missing. It comes with
// block.ErrNotFound.
var ErrNoSource = exchange.ErrNoSource

// SyncOptions say how a DAG is got. The zero value is fine.
type SyncOptions struct {
	// From are whom to ask at once: multiaddrs of peers that end with their
	// ids, and http or https URLs of trustless gateways. Connected peers, and
	// the gateways of the Config, are asked, too.
	From []string `json:"from,omitempty"`
	// OnlyFrom asks nobody else.
	OnlyFrom bool `json:"onlyFrom,omitempty"`
	// Alias is set to the root, in one step, when all of it is here; what it
	// stood for before stays until then. Empty: "pin/" and the CID.
	Alias string `json:"alias,omitempty"`
	// NoPin sets no alias: what comes is a cache.
	NoPin bool `json:"noPin,omitempty"`
	// Have are roots of DAGs that are here and may have much in common with
	// the one that is got, such as former versions: peers that know how send
	// only what is new. What Alias stands for is among them anyway.
	Have []cid.Cid `json:"have,omitempty"`
	// Selection leaves out a part of the DAG, now and as long as the alias
	// stands.
	Selection store.Selection `json:"selection,omitzero"`
	// Follow, if not nil, is given each block that comes, with its links,
	// before it is accepted, and returns the links to go on with. An error
	// refuses the block, and ends Sync with that error. So each block of a
	// chain can be validated before the next is asked for.
	Follow func(b block.Block, links []cid.Cid) ([]cid.Cid, error) `json:"-"`
}

// SyncProgress is how far Sync has come.
type SyncProgress struct {
	// Blocks and Bytes are those that came.
	Blocks int64 `json:"blocks"`
	Bytes  int64 `json:"bytes"`
	// Duplicates and DuplicateBytes came though they were here.
	Duplicates     int64 `json:"duplicates"`
	DuplicateBytes int64 `json:"duplicateBytes"`
	// Wanted is how many blocks are known to be missing. There may be more
	// below them.
	Wanted int `json:"wanted"`
	// Rate is in bytes a second. Left is how long it takes still; zero while
	// that can't be told.
	Rate float64       `json:"rate"`
	Left time.Duration `json:"left"`
	// Sources are those that were asked.
	Sources []SyncSource `json:"sources"`
	// Done: all is here and durable.
	Done bool `json:"done"`
}

// A SyncSource is somebody who was asked.
type SyncSource struct {
	// Name is a peer's id or a gateway's URL.
	Name   string `json:"name"`
	Blocks int64  `json:"blocks"`
	Bytes  int64  `json:"bytes"`
	// Err is why it isn't asked any more, or what failed last.
	Err error `json:"error,omitempty"`
}

// Sync gets the DAG below root from whoever has it, and keeps it. It yields how
// far it has come, ten times a second, and at the end, with Done; an error is
// the last that it yields. What came before an error, a crash, or the end of
// the range stays, and the next Sync goes on from there. Every block is checked
// against its CID, and none is taken that isn't part of the DAG. Errors:
// ErrNoSource, ErrAddress, ErrOffline; store.ErrDiskFull and others of the
// store; those of Follow.
func (n *Node) Sync(ctx context.Context, root cid.Cid, o SyncOptions) iter.Seq2[SyncProgress, error] {
	return func(yield func(SyncProgress, error) bool) {
		net, xo, err := n.syncOptions(ctx, root, o)
		if err != nil {
			yield(SyncProgress{}, fmt.Errorf("sync %s: %w", root, err))
			return
		}
		for p, err := range net.exchange.Sync(ctx, root, xo) {
			if p.Done && o.NoPin {
				n.fetched(net, root)
			}
			if !o.OnlyFrom {
				err = net.explainNoSource(err)
			}
			if !yield(newProgress(p), err) {
				return
			}
		}
	}
}

func (n *Node) syncOptions(ctx context.Context, root cid.Cid, o SyncOptions) (*network, exchange.Options, error) {
	xo := exchange.Options{
		OnlyFrom: o.OnlyFrom, Alias: o.Alias, NoPin: o.NoPin, Have: o.Have, Selection: o.Selection, Follow: o.Follow,
	}
	net, err := n.network(ctx)
	if err != nil {
		return nil, xo, err
	}
	if xo.From, err = net.parseSources(o.From); err != nil {
		return nil, xo, err
	}
	if xo.Alias == "" && !o.NoPin {
		if err := block.CheckCID(root); err != nil {
			return nil, xo, err
		}
		xo.Alias = PinName(root)
	}
	if xo.Alias != "" {
		former, err := n.Resolve(ctx, xo.Alias)
		if err != nil && !errors.Is(err, store.ErrNoAlias) {
			return nil, xo, err
		}
		if err == nil && !block.Equal(former, root) {
			xo.Have = append([]cid.Cid{former}, xo.Have...)
		}
	}
	return net, xo, nil
}

// parseSources makes sources of addresses.
func (net *network) parseSources(addrs []string) ([]exchange.Source, error) {
	var all []exchange.Source
	for _, a := range addrs {
		if strings.HasPrefix(a, "http://") || strings.HasPrefix(a, "https://") {
			urls, err := parseURLs([]string{a}, "a gateway")
			if err != nil {
				return nil, err
			}
			all = append(all, net.sources.Gateway(urls[0]))
			continue
		}
		id, err := net.addAddr(a)
		if err != nil {
			return nil, err
		}
		all = append(all, net.sources.Peer(id))
	}
	return all, nil
}

func newProgress(p exchange.Progress) SyncProgress {
	out := SyncProgress{
		Blocks: p.Blocks, Bytes: p.Bytes, Duplicates: p.Duplicates, DuplicateBytes: p.DuplicateBytes,
		Wanted: p.Wanted, Rate: p.Rate, Left: p.Left, Done: p.Done,
	}
	for _, s := range p.Sources {
		out.Sources = append(out.Sources, SyncSource{Name: s.Name, Blocks: s.Blocks, Bytes: s.Bytes, Err: s.Err})
	}
	return out
}

// Fetch returns a block that is here, or else gets it from a source. Then it
// stays as a cache. Errors: ErrNoSource, ErrOffline.
func (n *Node) Fetch(ctx context.Context, c cid.Cid) (block.Block, error) {
	if b, err := n.store.Get(ctx, c); err == nil {
		return b, nil
	}
	b, net, err := n.fetch(ctx, c)
	if err == nil {
		n.fetched(net, c)
	}
	return b, err
}

// fetch gets a block from a source.
func (n *Node) fetch(ctx context.Context, c cid.Cid) (block.Block, *network, error) {
	net, err := n.network(ctx)
	if err != nil {
		return block.Block{}, nil, err
	}
	b, err := net.exchange.Fetch(ctx, c, exchange.Options{})
	return b, net, net.explainNoSource(err)
}

// explainNoSource adds to an ErrNoSource why no bootstrap peer is connected, if
// none is.
func (net *network) explainNoSource(err error) error {
	if !errors.Is(err, ErrNoSource) {
		return err
	}
	why := net.bootstrap.Err()
	if s := net.routing.Status(); why == nil || s.Peers+s.LocalPeers > 0 {
		return err
	}
	return fmt.Errorf("%w; %w", err, why)
}

// fetched has a root announced that came as a cache, if that's configured.
func (n *Node) fetched(net *network, root cid.Cid) {
	if n.config.ProvideFetched {
		net.announcer.Fetched(root)
	}
}
