package swarm

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// An AddressStore keeps the address book across restarts.
type AddressStore interface {
	// LoadAddresses yields all records.
	LoadAddresses(ctx context.Context) iter.Seq2[AddressRecord, error]
	// SaveAddresses replaces the records of the same peers, and removes the records
	// of those without Data.
	SaveAddresses(ctx context.Context, records []AddressRecord) error
}

// An AddressRecord has the addresses of one peer, and whether it is banned.
type AddressRecord struct {
	Peer peer.ID
	// Data is at most MaxRecord bytes. Only the address book interprets it.
	Data []byte
}

// MaxRecord bounds the data of an AddressRecord, in bytes: the most addresses, each
// of the greatest length, as text, where a protocol's name may be eight times as
// long as its code, and the JSON around them.
const MaxRecord = maxAddresses*(8*maxAddress+256) + 64

// A storedPeer is the content of a record.
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
// would exceed MaxRecord, and so could not be read again: a banned peer may have
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
	if err != nil || len(data) <= MaxRecord {
		return data, err
	}
	best := slices.SortedStableFunc(slices.Values(addresses), betterAddress)
	return encodeRecord(best[:len(best)-1], banned)
}

// decodeRecord decodes a record's data, which may be hostile. It drops addresses
// that it cannot read: an address from another version must not lose a ban.
func decodeRecord(data []byte) (addresses []Address, banned bool, err error) {
	if len(data) > MaxRecord {
		return nil, false, fmt.Errorf("%d bytes, more than %d", len(data), MaxRecord)
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
func (b *book) load(ctx context.Context, store AddressStore, skipped func(peer.ID, error)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for r, err := range store.LoadAddresses(ctx) {
		if err != nil {
			return fmt.Errorf("swarm: load the address book: %w", err)
		}
		addresses, banned, err := decodeRecord(r.Data)
		if err == nil {
			err = r.Peer.Validate()
		}
		if err != nil {
			skipped(r.Peer, err)
			continue
		}
		if banned {
			b.banned[r.Peer] = struct{}{}
		}
		if len(addresses) == 0 {
			continue
		}
		if len(b.peers) >= maxPeers {
			b.dirty[r.Peer] = struct{}{} // removes them from the store
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
		b.peers[r.Peer] = e
	}
	return nil
}

// save writes the changed records. If it fails, they stay marked for the next save.
func (b *book) save(ctx context.Context, store AddressStore) error {
	b.saving.Lock()
	defer b.saving.Unlock()
	b.mu.Lock()
	dirty := b.dirty
	b.dirty = make(map[peer.ID]struct{})
	var records []AddressRecord
	var err error
	for id := range dirty {
		r := AddressRecord{Peer: id}
		var addresses []Address
		if e := b.peers[id]; e != nil {
			addresses = e.addresses
		}
		if _, banned := b.banned[id]; banned || len(addresses) > 0 {
			if r.Data, err = encodeRecord(addresses, banned); err != nil {
				break
			}
		}
		records = append(records, r)
	}
	b.mu.Unlock()
	if err == nil && len(records) > 0 {
		err = store.SaveAddresses(ctx, records)
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
