package swarm

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/cairn-ipfs/cairn/internal/rows"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// space has the address book in a rows.Store: a row for each peer, by its id.
const space = "addresses"

// maxRecord bounds the value of a row, in bytes: the most addresses, each of the
// greatest length, as text, where a protocol's name may be eight times as long as
// its code, and the JSON around them.
const maxRecord = maxAddresses*(8*maxAddress+256) + 64

// A storedPeer is the content of a row.
type storedPeer struct {
	Banned    bool            `json:"banned,omitempty"`
	Addresses []storedAddress `json:"addresses,omitempty"`
}

// A storedAddress is an Address in a record, with times in Unix seconds.
type storedAddress struct {
	Addr      string `json:"addr"`
	Source    Source `json:"source"`
	Confirmed int64  `json:"confirmed,omitempty"`
	Failures  int    `json:"failures,omitempty"`
	Failed    int64  `json:"failed,omitempty"`
}

func fromUnix(seconds int64) time.Time {
	if seconds <= 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}

func toUnix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// encodeRecord encodes a record's data. It drops the worst addresses if the data
// would exceed maxRecord, and so could not be read again: a banned peer may have
// made its addresses long.
func encodeRecord(addresses []Address, banned bool) ([]byte, error) {
	stored := storedPeer{Banned: banned}
	for _, a := range addresses {
		stored.Addresses = append(stored.Addresses, storedAddress{
			Addr: a.Addr.String(), Source: a.Source,
			Confirmed: toUnix(a.Confirmed), Failures: a.Failures, Failed: toUnix(a.Failed),
		})
	}
	data, err := json.Marshal(stored)
	if err != nil || len(data) <= maxRecord {
		return data, err
	}
	best := slices.SortedStableFunc(slices.Values(addresses), betterAddress)
	return encodeRecord(best[:len(best)-1], banned)
}

// decodeRecord decodes a record's data, which may be hostile. It drops addresses
// that it cannot read: an address from another version must not lose a ban.
func decodeRecord(data []byte) (addresses []Address, banned bool, err error) {
	if len(data) > maxRecord {
		return nil, false, fmt.Errorf("%d bytes, more than %d", len(data), maxRecord)
	}
	var stored storedPeer
	if err := json.Unmarshal(data, &stored); err != nil {
		return nil, false, err
	}
	if n := len(stored.Addresses); n > maxAddresses {
		return nil, false, fmt.Errorf("%d addresses, more than %d", n, maxAddresses)
	}
	for _, s := range stored.Addresses {
		addr, err := ma.NewMultiaddr(s.Addr)
		if err != nil || len(addr.Bytes()) > maxAddress || len(s.Source) > maxSource || s.Failures < 0 {
			continue
		}
		addresses = append(addresses, Address{
			Addr: addr, Source: s.Source,
			Confirmed: fromUnix(s.Confirmed), Failures: s.Failures, Failed: fromUnix(s.Failed),
		})
	}
	return addresses, stored.Banned, nil
}

// load reads the store. It skips records that it cannot read, and calls skipped
// for each: addresses can be learned again.
func (b *book) load(ctx context.Context, store rows.Store, skipped func(peer.ID, error)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for r, err := range store.All(ctx, space, nil) {
		if err != nil {
			return fmt.Errorf("swarm: load the address book: %w", err)
		}
		id := peer.ID(r.Key)
		addresses, banned, err := decodeRecord(r.Value)
		if err == nil {
			err = id.Validate()
		}
		if err != nil {
			skipped(id, err)
			continue
		}
		if banned {
			b.banned[id] = struct{}{}
		}
		if len(addresses) == 0 {
			continue
		}
		if len(b.peers) >= maxPeers {
			b.dirty[id] = struct{}{} // removes them from the store
			continue
		}
		e := &bookEntry{addresses: addresses}
		for _, a := range addresses {
			for _, t := range []time.Time{a.Confirmed, a.Failed} {
				if t.After(e.used) {
					e.used = t
				}
			}
		}
		b.peers[id] = e
	}
	return nil
}

// save writes the changed records. If it fails, they stay marked for the next save.
func (b *book) save(ctx context.Context, store rows.Store) error {
	b.saving.Lock()
	defer b.saving.Unlock()
	b.mu.Lock()
	dirty := b.dirty
	b.dirty = make(map[peer.ID]struct{})
	var changes []rows.Change
	var err error
	for id := range dirty {
		c := rows.Change{Space: space, Key: []byte(id)}
		var addresses []Address
		if e := b.peers[id]; e != nil {
			addresses = e.addresses
		}
		if _, banned := b.banned[id]; banned || len(addresses) > 0 {
			if c.Value, err = encodeRecord(addresses, banned); err != nil {
				break
			}
		}
		changes = append(changes, c)
	}
	b.mu.Unlock()
	if err == nil && len(changes) > 0 {
		err = store.Set(ctx, changes...)
	}
	if err != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		for id := range dirty {
			b.dirty[id] = struct{}{}
		}
		return fmt.Errorf("swarm: save the address book: %w", err)
	}
	return nil
}
