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

// ErrNoSource: none of the sources has a missing block. It wraps block.ErrNotFound.
var ErrNoSource = exchange.ErrNoSource

// SyncOptions configure Sync. The zero value is fine.
type SyncOptions struct {
	// From are sources to ask at once: multiaddrs of peers that end with their ids,
	// and http or https URLs of trustless gateways. Connected peers, providers and
	// the gateways of the Config are asked as well.
	From []string `json:"from,omitempty"`
	// OnlyFrom asks no other sources than From.
	OnlyFrom bool `json:"onlyFrom,omitempty"`
	// Alias is set to the root when the DAG is complete. Until then it keeps its
	// former root. Empty: PinName of the root.
	Alias string `json:"alias,omitempty"`
	// NoPin sets no alias: the blocks are a cache.
	NoPin bool `json:"noPin,omitempty"`
	// Have are roots of DAGs in the store that may share much with the new one, such
	// as former versions. Sources that support it send only the difference. The
	// former root of Alias is always among them.
	Have []cid.Cid `json:"have,omitempty"`
	// Selection excludes a part of the DAG, for as long as the alias exists.
	Selection store.Selection `json:"selection,omitzero"`
	// Follow, if not nil, is called with each received block and its links before
	// the block is accepted, and returns the links to follow. An error rejects the
	// block, and ends Sync with that error. So each block of a chain can be
	// validated before the next is requested.
	Follow func(b block.Block, links []cid.Cid) ([]cid.Cid, error) `json:"-"`
}

// SyncProgress is the progress of Sync.
type SyncProgress struct {
	// Blocks and Bytes count what was received.
	Blocks int64 `json:"blocks"`
	Bytes  int64 `json:"bytes"`
	// Duplicates and DuplicateBytes count received blocks that the store had.
	Duplicates     int64 `json:"duplicates"`
	DuplicateBytes int64 `json:"duplicateBytes"`
	// Wanted counts the blocks known to be missing. There may be more below them.
	Wanted int `json:"wanted"`
	// Rate is in bytes per second. Left is the estimated remaining time. Zero:
	// unknown.
	Rate float64       `json:"rate"`
	Left time.Duration `json:"left"`
	// Sources are the sources asked so far.
	Sources []SyncSource `json:"sources"`
	// Done: the DAG is complete and durable.
	Done bool `json:"done"`
}

// A SyncSource is a source that was asked.
type SyncSource struct {
	// Name is a peer's id or a gateway's URL.
	Name   string `json:"name"`
	Blocks int64  `json:"blocks"`
	Bytes  int64  `json:"bytes"`
	// Err is why it is no longer asked, or its last failure.
	Err error `json:"error,omitempty"`
}

// Sync fetches the DAG below root from all its sources, and keeps it. It yields its
// progress ten times a second, and last with Done or an error. After an error, a
// crash or a break the received blocks stay, and the next Sync continues. Every block
// is verified against its CID, and none is accepted that is not part of the DAG.
// Errors: ErrNoSource, ErrAddress, ErrOffline; store.ErrDiskFull and others of the
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

// parseSources returns the sources at addresses.
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

// Fetch returns a block from the store, or else from a source; then it stays as a
// cache. Errors: ErrNoSource, ErrOffline.
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

// fetched announces the root of fetched content, if Config.ProvideFetched is set.
func (n *Node) fetched(net *network, root cid.Cid) {
	if n.config.ProvideFetched {
		net.announcer.Fetched(root)
	}
}
