package swarm

import (
	"crypto/rand"
	"fmt"

	"github.com/libp2p/go-libp2p/core/crypto"
)

// maxKey bounds a marshalled private key, in bytes: the largest in use, RSA of
// 8192 bits, takes 4.7 KiB.
const maxKey = 16 << 10

// NewKey makes a new identity: an Ed25519 key.
func NewKey() (crypto.PrivKey, error) {
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("swarm: new identity: %w", err)
	}
	return key, nil
}

// MarshalKey returns the private key as the protobuf of libp2p's peer id
// specification. Kubo has the same bytes, in base64, as Identity.PrivKey.
func MarshalKey(key crypto.PrivKey) ([]byte, error) {
	data, err := crypto.MarshalPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("swarm: marshal private key: %w", err)
	}
	return data, nil
}

// UnmarshalKey is the inverse of MarshalKey.
func UnmarshalKey(data []byte) (crypto.PrivKey, error) {
	if len(data) > maxKey {
		return nil, fmt.Errorf("swarm: unmarshal private key: it has %d bytes, more than %d", len(data), maxKey)
	}
	key, err := crypto.UnmarshalPrivateKey(data)
	if err != nil {
		return nil, fmt.Errorf("swarm: unmarshal private key: %w", err)
	}
	return key, nil
}
