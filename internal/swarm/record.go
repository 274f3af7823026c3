package swarm

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// An AddressStore keeps the address book over restarts: a small area of keys
// and values.
type AddressStore interface {
	// LoadAddresses lists all records.
	LoadAddresses(ctx context.Context) iter.Seq2[AddressRecord, error]
	// SaveAddresses writes the records in place of those of the same peers,
	// and removes those without Data.
	SaveAddresses(ctx context.Context, records []AddressRecord) error
}

// An AddressRecord is what the book knows of one peer.
type AddressRecord struct {
	Peer peer.ID
	// Data are at most MaxRecord bytes, for the book alone to read.
	Data []byte
}

// MaxRecord bounds the data of an AddressRecord, in bytes: as many addresses as
// the book keeps, of the length it allows, as text, whose names are longer than their codes.
const MaxRecord = maxAddresses * (8*maxAddress + 256)

// A storedAddress is an Address within a record, times in Unix seconds.
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

func encodeAddresses(addresses []Address) ([]byte, error) {
	stored := make([]storedAddress, 0, len(addresses))
	for _, a := range addresses {
		stored = append(stored, storedAddress{
			Addr: a.Addr.String(), Source: a.Source,
			Confirmed: toUnix(a.Confirmed), Failures: a.Failures, Failed: toUnix(a.Failed),
		})
	}
	return json.Marshal(stored)
}

// decodeAddresses reads a record's data. It takes them to be hostile.
func decodeAddresses(data []byte) ([]Address, error) {
	if len(data) > MaxRecord {
		return nil, fmt.Errorf("%d bytes, more than %d", len(data), MaxRecord)
	}
	var stored []storedAddress
	if err := json.Unmarshal(data, &stored); err != nil {
		return nil, err
	}
	if len(stored) > maxAddresses {
		return nil, fmt.Errorf("%d addresses, more than %d", len(stored), maxAddresses)
	}
	addresses := make([]Address, 0, len(stored))
	for _, s := range stored {
		addr, err := ma.NewMultiaddr(s.Addr)
		if err != nil {
			return nil, err
		}
		if len(addr.Bytes()) > maxAddress || len(s.Source) > maxSource || s.Failures < 0 {
			return nil, fmt.Errorf("address %.40s… is out of bounds", s.Addr)
		}
		addresses = append(addresses, Address{
			Addr: addr, Source: s.Source,
			Confirmed: fromUnix(s.Confirmed), Failures: s.Failures, Failed: fromUnix(s.Failed),
		})
	}
	return addresses, nil
}

// load reads the store. A record that can't be read is left out, with a call of
// skipped: addresses can be learned again.
func (b *book) load(ctx context.Context, store AddressStore, skipped func(peer.ID, error)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for r, err := range store.LoadAddresses(ctx) {
		if err != nil {
			return fmt.Errorf("swarm: load the address book: %w", err)
		}
		addresses, err := decodeAddresses(r.Data)
		if err == nil {
			err = r.Peer.Validate()
		}
		if err != nil {
			skipped(r.Peer, err)
			continue
		}
		if len(b.peers) >= maxPeers {
			b.dirty[r.Peer] = struct{}{} // removes it from the store
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

// save writes what has changed. If that fails, it is still to be saved.
func (b *book) save(ctx context.Context, store AddressStore) error {
	b.mu.Lock()
	dirty := b.dirty
	b.dirty = make(map[peer.ID]struct{})
	var records []AddressRecord
	var err error
	for id := range dirty {
		r := AddressRecord{Peer: id}
		if e := b.peers[id]; e != nil && len(e.addresses) > 0 {
			if r.Data, err = encodeAddresses(e.addresses); err != nil {
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
