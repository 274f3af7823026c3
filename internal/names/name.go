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

	// maxInlineKey is the longest public key that a name carries in itself, in
	// bytes, as the peer id specification has it. Longer ones are hashed.
	maxInlineKey = 42

	// maxNameText bounds the text of a name, in bytes. The longest in use, an
	// inlined key in base 16, has less than a hundred.
	maxNameText = 256
)

// A Name is an IPNS name: the multihash of a public key. Names are comparable;
// the zero Name is no name.
type Name struct {
	hash string
}

// ParseName reads a name in any form it is written in: a CID of the codec
// libp2p-key in any base, or a peer id in base 58; with or without /ipns/ or
// ipns:// before it. It fails with ErrInvalid.
func ParseName(s string) (Name, error) {
	text := strings.TrimPrefix(strings.TrimPrefix(s, routingPrefix), "ipns://")
	if len(text) > maxNameText {
		return Name{}, fmt.Errorf("names: name %.20q…: %w: %d bytes", text, ErrInvalid, len(text))
	}
	id, err := peer.Decode(text)
	if err != nil {
		return Name{}, fmt.Errorf("names: name %q: %w: %w", s, ErrInvalid, err)
	}
	return NameOfPeer(id)
}

// NameOfPeer is the name that belongs to a peer's key.
func NameOfPeer(id peer.ID) (Name, error) {
	mh, err := multihash.Decode([]byte(id))
	switch {
	case err != nil:
		return Name{}, fmt.Errorf("names: name: %w: %w", ErrInvalid, err)
	case mh.Code == multihash.SHA2_256 && mh.Length == 32:
	case mh.Code == multihash.IDENTITY && mh.Length <= maxInlineKey:
	default:
		return Name{}, fmt.Errorf("names: name: %w: %s of %d bytes is no hash of a key", ErrInvalid, mh.Name, mh.Length)
	}
	return Name{string(id)}, nil
}

// NameOf is the name that belongs to a key.
func NameOf(key crypto.PubKey) (Name, error) {
	id, err := peer.IDFromPublicKey(key)
	if err != nil {
		return Name{}, fmt.Errorf("names: name of a key: %w", err)
	}
	return NameOfPeer(id)
}

// nameOfRoutingKey is the inverse of RoutingKey.
func nameOfRoutingKey(key string) (Name, error) {
	hash, ok := strings.CutPrefix(key, routingPrefix)
	if !ok {
		return Name{}, fmt.Errorf("names: %w: a key that doesn't begin with %s", ErrInvalid, routingPrefix)
	}
	return NameOfPeer(peer.ID(hash))
}

// String is the name as a CID in base 36 (k51… of an Ed25519 key), empty for
// the zero Name.
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

// CID is the name as a CIDv1 of the codec libp2p-key.
func (n Name) CID() cid.Cid {
	if n.hash == "" {
		return cid.Undef
	}
	return cid.NewCidV1(cid.Libp2pKey, multihash.Multihash(n.hash))
}

// Peer is the id of the peer that has the same key.
func (n Name) Peer() peer.ID { return peer.ID(n.hash) }

// RoutingKey is the key under which value stores hold the name's record:
// /ipns/ and the binary multihash.
func (n Name) RoutingKey() string { return routingPrefix + n.hash }

// Topic is the name of the topic on which the name's records are published.
func (n Name) Topic() string {
	return topicPrefix + base64.RawURLEncoding.EncodeToString([]byte(n.RoutingKey()))
}
