package names

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/libp2p/go-libp2p/core/crypto"
)

const (
	// SelfKey is the name of the node's identity among the keys.
	SelfKey = "self"

	// maxKeyName bounds the name of a key, in bytes. In base 32 it must fit
	// into a file name of 255 bytes.
	maxKeyName = 128

	// maxKeys bounds the keys in a folder; a search by id reads all of them.
	maxKeys = 4096
)

// A KeysConfig configures Keys.
type KeysConfig struct {
	// Dir is the folder, made if it is missing. "": the keys are in memory, and
	// end with the process.
	Dir string
	// Self is the node's identity, listed as the key "self". nil: none.
	Self crypto.PrivKey
	// Passphrase encrypts new keys, and decrypts encrypted ones. "": new keys
	// are not encrypted, and encrypted ones can't be used.
	Passphrase string
	// WorkFactor is the base-2 logarithm of the work to try a passphrase. 0:
	// 18, about a second.
	WorkFactor int
}

// Keys is a folder of private keys, each with a name. On disk the folder has
// mode 0700 and the files 0600, and each is written whole or not at all.
type Keys struct {
	c    KeysConfig
	self Name

	mu     sync.RWMutex // guards the following field
	folder keyFolder
}

// A KeyInfo describes a key.
type KeyInfo struct {
	Name string
	ID   Name
	// Encrypted: using the key needs the passphrase.
	Encrypted bool
}

// OpenKeys opens a folder of keys.
func OpenKeys(c KeysConfig) (*Keys, error) {
	k := &Keys{c: c}
	if c.WorkFactor < 0 || c.WorkFactor > maxWorkFactor {
		return nil, fmt.Errorf("names: keys: invalid work factor %d: want 0 to %d", c.WorkFactor, maxWorkFactor)
	}
	if c.Self != nil {
		var err error
		if k.self, err = NameOf(c.Self.GetPublic()); err != nil {
			return nil, err
		}
	}
	if c.Dir == "" {
		k.folder = &memoryFolder{}
		return k, nil
	}
	folder, err := openDiskFolder(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("names: keys: %w", err)
	}
	k.folder = folder
	return k, nil
}

// checkKeyName checks the name of a new key: 1 to 128 bytes of UTF-8, without
// slashes, dots, control characters, and spaces at its ends, that don't parse as
// a key's id.
func checkKeyName(name string) error {
	fault := ""
	switch {
	case name == "":
		fault = "it is empty"
	case len(name) > maxKeyName:
		fault = fmt.Sprintf("it has more than %d bytes", maxKeyName)
	case !utf8.ValidString(name):
		fault = "it is not UTF-8"
	case strings.ContainsAny(name, `/\.`):
		fault = "it has a slash or a dot"
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		fault = "it has a control character"
	case strings.TrimSpace(name) != name:
		fault = "it begins or ends with a space"
	default:
		if _, err := ParseName(name); err != nil {
			return nil
		}
		fault = "it has the form of a key's id"
	}
	return fmt.Errorf("names: key name %.140q: %w: %s", name, ErrInvalid, fault)
}

func checkNewName(name string) error {
	if name == SelfKey {
		return fmt.Errorf("names: key %q: %w: it is the node's identity, which can't be changed", name, ErrExists)
	}
	return checkKeyName(name)
}

// readFile reads the file of a key; k.mu is held. It fails with fs.ErrNotExist,
// ErrInvalid.
func (k *Keys) readFile(name string) (keyFile, error) {
	data, err := k.folder.read(fileName(name))
	if err != nil {
		return keyFile{}, err
	}
	return parseKeyFile(data)
}

// checkFree fails with ErrExists if a file of that name exists, even an
// unreadable one; k.mu is held.
func (k *Keys) checkFree(name string) error {
	_, err := k.folder.read(fileName(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return errors.Join(ErrExists, err)
	}
	return ErrExists
}

// Generate makes an Ed25519 key. Errors: ErrExists, ErrInvalid.
func (k *Keys) Generate(name string) (KeyInfo, error) {
	if err := checkNewName(name); err != nil {
		return KeyInfo{}, err
	}
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		return KeyInfo{}, fmt.Errorf("names: generate key %q: %w", name, err)
	}
	return k.add("generate", name, key)
}

// Import stores a key, in either format that Export writes. Errors: ErrExists,
// ErrInvalid.
func (k *Keys) Import(name string, data []byte) (KeyInfo, error) {
	if err := checkNewName(name); err != nil {
		return KeyInfo{}, err
	}
	key, err := UnmarshalKey(data)
	if err != nil {
		return KeyInfo{}, err
	}
	return k.add("import", name, key)
}

func (k *Keys) add(operation, name string, key crypto.PrivKey) (KeyInfo, error) {
	fail := func(err error) (KeyInfo, error) {
		return KeyInfo{}, fmt.Errorf("names: %s key %q: %w", operation, name, err)
	}
	id, err := NameOf(key.GetPublic())
	if err != nil {
		return fail(err)
	}
	data, err := marshalKeyFile(id, key, k.c.Passphrase, k.c.WorkFactor)
	if err != nil {
		return fail(err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	n := 0
	for other, err := range k.list() {
		if err == nil && (other.Name == name || other.ID == id) {
			return fail(fmt.Errorf("%w: %q is %s", ErrExists, other.Name, other.ID))
		}
		n++
	}
	if n >= maxKeys {
		return fail(fmt.Errorf("too many keys: the limit is %d", maxKeys))
	}
	if err := k.checkFree(name); err != nil {
		return fail(err)
	}
	if err := k.folder.write(fileName(name), data); err != nil {
		return fail(err)
	}
	return KeyInfo{Name: name, ID: id, Encrypted: k.c.Passphrase != ""}, nil
}

// List yields the keys, "self" first, the others by name. For an unreadable file
// it yields an error with the key's name, and goes on.
func (k *Keys) List() iter.Seq2[KeyInfo, error] {
	return func(yield func(KeyInfo, error) bool) {
		k.mu.RLock()
		var all []KeyInfo
		var errs []error
		for info, err := range k.list() {
			all, errs = append(all, info), append(errs, err)
		}
		k.mu.RUnlock()
		for i, info := range all {
			if !yield(info, errs[i]) {
				return
			}
		}
	}
}

// list is List; k.mu is held.
func (k *Keys) list() iter.Seq2[KeyInfo, error] {
	return func(yield func(KeyInfo, error) bool) {
		if k.c.Self != nil && !yield(KeyInfo{Name: SelfKey, ID: k.self}, nil) {
			return
		}
		files, err := k.folder.list()
		if err != nil {
			yield(KeyInfo{}, fmt.Errorf("names: list keys: %w", err))
			return
		}
		var names []string
		for _, file := range files {
			if name, ok := parseFileName(file); ok && name != SelfKey {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		for _, name := range names {
			f, err := k.readFile(name)
			if err != nil {
				err = fmt.Errorf("names: key %q: %w", name, err)
			}
			if !yield(KeyInfo{Name: name, ID: f.id, Encrypted: f.sealed != nil}, err) {
				return
			}
		}
	}
}

// find looks a key up by name or id; k.mu is held.
func (k *Keys) find(nameOrID string) (KeyInfo, keyFile, error) {
	fail := func(err error) (KeyInfo, keyFile, error) {
		return KeyInfo{}, keyFile{}, fmt.Errorf("names: key %.140q: %w", nameOrID, err)
	}
	self := KeyInfo{Name: SelfKey, ID: k.self}
	id, err := ParseName(nameOrID)
	if err == nil {
		for info, err := range k.list() {
			if err != nil || info.ID != id {
				continue
			}
			if info == self {
				return self, keyFile{id: k.self, key: k.c.Self}, nil
			}
			f, err := k.readFile(info.Name)
			if err != nil {
				return fail(err)
			}
			return info, f, nil
		}
		return fail(ErrKeyNotFound)
	}
	if nameOrID == SelfKey && k.c.Self != nil {
		return self, keyFile{id: k.self, key: k.c.Self}, nil
	}
	// Find also keys whose names Kubo allows and Generate doesn't.
	if len(nameOrID) > maxKeyName || nameOrID == SelfKey || nameOrID == "" {
		return fail(ErrKeyNotFound)
	}
	f, err := k.readFile(nameOrID)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fail(ErrKeyNotFound)
	case err != nil:
		return fail(err)
	}
	return KeyInfo{Name: nameOrID, ID: f.id, Encrypted: f.sealed != nil}, f, nil
}

// Info describes the key with that name or id, in any form that ParseName
// parses. It needs no passphrase. Errors: ErrKeyNotFound, ErrInvalid.
func (k *Keys) Info(nameOrID string) (KeyInfo, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	info, _, err := k.find(nameOrID)
	return info, err
}

// Get returns the key with that name or id. Errors: ErrKeyNotFound, ErrPassphrase,
// ErrInvalid.
func (k *Keys) Get(nameOrID string) (crypto.PrivKey, error) {
	k.mu.RLock()
	info, f, err := k.find(nameOrID)
	k.mu.RUnlock()
	if err != nil {
		return nil, err
	}
	key, err := f.open(k.c.Passphrase)
	if err != nil {
		return nil, fmt.Errorf("names: key %q: %w", info.Name, err)
	}
	return key, nil
}

// PrivateKey returns the key of an IPNS name. Errors: as Get.
func (k *Keys) PrivateKey(name Name) (crypto.PrivKey, error) { return k.Get(name.String()) }

// Export encodes a key, not encrypted. Errors: as Get.
func (k *Keys) Export(nameOrID string, format Format) ([]byte, error) {
	key, err := k.Get(nameOrID)
	if err != nil {
		return nil, err
	}
	return MarshalKey(key, format)
}

// Rename gives a key another name. Errors: ErrKeyNotFound, ErrInvalid, ErrExists;
// ErrSelfKey.
func (k *Keys) Rename(nameOrID, to string) (KeyInfo, error) {
	if err := checkNewName(to); err != nil {
		return KeyInfo{}, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	info, err := k.findNonSelf(nameOrID)
	if err != nil || info.Name == to {
		return info, err
	}
	if err := k.checkFree(to); err != nil {
		return KeyInfo{}, fmt.Errorf("names: rename key %q to %q: %w", info.Name, to, err)
	}
	if err := k.folder.rename(fileName(info.Name), fileName(to)); err != nil {
		return KeyInfo{}, fmt.Errorf("names: rename key %q: %w", info.Name, err)
	}
	info.Name = to
	return info, nil
}

// Remove deletes a key for good, and returns its description. Errors:
// ErrKeyNotFound, ErrInvalid, ErrSelfKey.
func (k *Keys) Remove(nameOrID string) (KeyInfo, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	info, err := k.findNonSelf(nameOrID)
	if err != nil {
		return KeyInfo{}, err
	}
	if err := k.folder.remove(fileName(info.Name)); err != nil {
		return KeyInfo{}, fmt.Errorf("names: remove key %q: %w", info.Name, err)
	}
	return info, nil
}

// findNonSelf is find, but fails for the node's identity; k.mu is held.
func (k *Keys) findNonSelf(nameOrID string) (KeyInfo, error) {
	info, _, err := k.find(nameOrID)
	if err == nil && info.Name == SelfKey {
		err = fmt.Errorf("names: key %q: %w", SelfKey, ErrSelfKey)
	}
	return info, err
}
