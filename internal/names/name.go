package names

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multibase"
	"github.com/multiformats/go-multihash"
)

const (
	// routingPrefix begins the keys under which value stores hold records.
	routingPrefix = "/ipns/"

	// topicPrefix begins the topics on which records are published.
	topicPrefix = "/record/"

	// maxInlineKey is the longest public key that a name contains unhashed, in
	// bytes (peer id specification).
	maxInlineKey = 42

	// maxNameText bounds the text of a name, in bytes. The longest in use, an
	// inlined key in base 16, has fewer than a hundred.
	maxNameText = 256
)

// A Name is an IPNS name: the multihash of a public key. Names are comparable;
// the zero Name is invalid.
type Name struct {
	hash string
}

// ParseName parses a name in any of its forms: a CID of the codec libp2p-key in
// any base, or a peer id in base 58; each with or without a leading /ipns/ or
// ipns://. It fails with ErrInvalid.
func ParseName(s string) (Name, error) {
	text := strings.TrimPrefix(strings.TrimPrefix(s, routingPrefix), "ipns://")
	if len(text) > maxNameText {
		return Name{}, fmt.Errorf("names: name %.20q…: %w: %d bytes, want %d at most", text, ErrInvalid, len(text), maxNameText)
	}
	id, err := peer.Decode(text)
	if err != nil {
		return Name{}, fmt.Errorf("names: name %q: %w: %w", s, ErrInvalid, err)
	}
	return nameOfPeer(id)
}

// nameOfPeer returns the name of a peer's key.
func nameOfPeer(id peer.ID) (Name, error) {
	mh, err := multihash.Decode([]byte(id))
	switch {
	case err != nil:
		return Name{}, fmt.Errorf("names: name: %w: %w", ErrInvalid, err)
	case mh.Code == multihash.SHA2_256 && mh.Length == 32:
	case mh.Code == multihash.IDENTITY && mh.Length <= maxInlineKey:
	default:
		return Name{}, fmt.Errorf("names: name: %w: %s of %d bytes, want the hash of a key", ErrInvalid, mh.Name, mh.Length)
	}
	return Name{string(id)}, nil
}

// NameOf returns the name of a public key.
func NameOf(key crypto.PubKey) (Name, error) {
	id, err := peer.IDFromPublicKey(key)
	if err != nil {
		return Name{}, fmt.Errorf("names: name of a key: %w", err)
	}
	return nameOfPeer(id)
}

// parseRoutingKey is the inverse of RoutingKey.
func parseRoutingKey(key string) (Name, error) {
	hash, ok := strings.CutPrefix(key, routingPrefix)
	if !ok {
		return Name{}, fmt.Errorf("names: routing key: %w: want one that begins with %s", ErrInvalid, routingPrefix)
	}
	return nameOfPeer(peer.ID(hash))
}

// String returns the name as a CID in base 36 (k51… for an Ed25519 key), empty
// for the zero Name.
func (n Name) String() string {
	if n.hash == "" {
		return ""
	}
	text, err := n.CID().StringOfBase(multibase.Base36)
	if err != nil {
		return ""
	}
	return text
}

// CID returns the name as a CIDv1 of the codec libp2p-key.
func (n Name) CID() cid.Cid {
	if n.hash == "" {
		return cid.Undef
	}
	return cid.NewCidV1(cid.Libp2pKey, multihash.Multihash(n.hash))
}

// Peer returns the id of the peer that has the same key.
func (n Name) Peer() peer.ID { return peer.ID(n.hash) }

// RoutingKey returns the key under which value stores hold the name's record:
// /ipns/ and the binary multihash.
func (n Name) RoutingKey() string { return routingPrefix + n.hash }

// Topic returns the name of the pubsub topic for the name's records.
func (n Name) Topic() string {
	return topicPrefix + base64.RawURLEncoding.EncodeToString([]byte(n.RoutingKey()))
}
