package cairn

import (
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/cairn-ipfs/cairn/internal/names"
)

// Errors of keys.
var (
	// ErrKeyNotFound: no key has that name or id.
	ErrKeyNotFound = names.ErrKeyNotFound
	// ErrKeyExists: the name is taken, or the key exists under another name.
	ErrKeyExists = names.ErrExists
	// ErrSelfKey: the key is the node's identity, which cannot be renamed or
	// removed.
	ErrSelfKey = names.ErrSelfKey
	// ErrPassphrase: the key is encrypted, and Config.KeyPassphrase does not
	// decrypt it.
	ErrPassphrase = names.ErrPassphrase
)

// SelfKey is the name of the node's identity among the keys.
const SelfKey = names.SelfKey

// A Key describes a private key.
type Key struct {
	// Name is the key's local name.
	Name string `json:"name"`
	// ID is the IPNS name of the key: k51…
	ID string `json:"id"`
	// Encrypted: using the key needs Config.KeyPassphrase.
	Encrypted bool `json:"encrypted"`
}

func newKey(k names.KeyInfo) Key { return Key{k.Name, k.ID.String(), k.Encrypted} }

// A KeyFormat is a file format of exported keys.
type KeyFormat int

const (
	// KeyProtobuf is the protobuf of libp2p's peer id specification.
	KeyProtobuf = KeyFormat(names.FormatProtobuf)
	// KeyPEM is PKCS #8 in PEM.
	KeyPEM = KeyFormat(names.FormatPEM)
)

// Keys are the node's private keys, which sign names: files in the folder keys of
// the repository, readable by their owner only, encrypted if Config.KeyPassphrase
// is set. The keys of a node in memory are in memory. Methods take a key's local
// name or its id.
type Keys struct{ keys *names.Keys }

// Keys returns the node's keys. The identity is the one called SelfKey.
func (n *Node) Keys() (*Keys, error) {
	k, err := n.keyring()
	if err != nil {
		return nil, err
	}
	return &Keys{k}, nil
}

// Generate makes a key. Errors: ErrKeyExists, ErrNameInvalid.
func (k *Keys) Generate(name string) (Key, error) { return keyOf(k.keys.Generate(name)) }

// Import adds a key that Export wrote, in either format. Errors:
// ErrKeyExists, ErrNameInvalid.
func (k *Keys) Import(name string, data []byte) (Key, error) { return keyOf(k.keys.Import(name, data)) }

// Export returns a private key, unencrypted. Errors: ErrKeyNotFound, ErrPassphrase.
func (k *Keys) Export(nameOrID string, f KeyFormat) ([]byte, error) {
	return k.keys.Export(nameOrID, names.Format(f))
}

// Info returns the key of that name or id. Errors: ErrKeyNotFound.
func (k *Keys) Info(nameOrID string) (Key, error) { return keyOf(k.keys.Info(nameOrID)) }

// Rename gives a key another name. Errors: ErrKeyNotFound, ErrKeyExists,
// ErrNameInvalid, ErrSelfKey.
func (k *Keys) Rename(nameOrID, to string) (Key, error) { return keyOf(k.keys.Rename(nameOrID, to)) }

// Remove deletes a key. The records that it signed stay valid until they expire.
// Errors: ErrKeyNotFound, ErrSelfKey.
func (k *Keys) Remove(nameOrID string) (Key, error) { return keyOf(k.keys.Remove(nameOrID)) }

func keyOf(k names.KeyInfo, err error) (Key, error) {
	if err != nil {
		return Key{}, err
	}
	return newKey(k), nil
}

// List yields the keys: SelfKey first, then the others by name. For a file that it
// cannot read it yields an error that names the key, and continues.
func (k *Keys) List() iter.Seq2[Key, error] {
	return func(yield func(Key, error) bool) {
		for info, err := range k.keys.List() {
			if !yield(newKey(info), err) {
				return
			}
		}
	}
}

// nameOf parses a name in any of its forms, or takes the name of a key.
func (n *Node) nameOf(s string) (names.Name, error) {
	if name, err := names.ParseName(s); err == nil {
		return name, nil
	}
	keys, err := n.Keys()
	if err != nil {
		return names.Name{}, err
	}
	info, err := keys.keys.Info(s)
	if errors.Is(err, ErrKeyNotFound) {
		return names.Name{}, fmt.Errorf("%.200q: %w: no key is called so, and it is no name", s, ErrNameNotFound)
	}
	return info.ID, err
}

// RemoveAll is Remove for several keys: all or none. With dryRun it removes
// none. It returns the keys, each once.
func (k *Keys) RemoveAll(namesOrIDs []string, dryRun bool) (removed []Key, err error) {
	for _, nameOrID := range namesOrIDs {
		key, err := k.Info(nameOrID)
		if err == nil && key.Name == SelfKey {
			_, err = k.Remove(key.Name) // returns ErrSelfKey
		}
		if err != nil {
			return nil, err
		}
		if !slices.Contains(removed, key) {
			removed = append(removed, key)
		}
	}
	if dryRun {
		return removed, nil
	}
	for i, key := range removed {
		if _, err := k.Remove(key.Name); err != nil {
			return removed[:i], err
		}
	}
	return removed, nil
}
