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
	// into the name of a file, of 255 bytes.
	maxKeyName = 128

	// maxKeys bounds how many keys a folder holds; all are read to find one by
	// its id.
	maxKeys = 4096
)

// A KeysConfig says where keys are.
type KeysConfig struct {
	// Dir is the folder, made if it isn't there. "": the keys are in memory,
	// and gone with the process.
	Dir string
	// Self is the node's identity, which is the key "self". nil: there is none.
	Self crypto.PrivKey
	// Passphrase encrypts the keys that are written. "": they are not
	// encrypted, and those that are can't be used.
	Passphrase string
	// WorkFactor is how much work it is to try a passphrase, as a power of
	// two. 0: 18, about a second.
	WorkFactor int
}

// Keys is a folder of private keys, each with a name. On disk the folder's mode
// is 0700, the files' 0600, and each is written whole or not at all.
type Keys struct {
	c    KeysConfig
	self Name

	mu     sync.RWMutex // guards what follows
	folder keyFolder
}

// A KeyInfo says what key there is.
type KeyInfo struct {
	Name string
	ID   Name
	// Encrypted: it takes the passphrase to use it.
	Encrypted bool
}

// OpenKeys opens a folder of keys.
func OpenKeys(c KeysConfig) (*Keys, error) {
	k := &Keys{c: c}
	if c.WorkFactor < 0 || c.WorkFactor > maxWorkFactor {
		return nil, fmt.Errorf("names: keys: a work factor of %d, want 1 to %d", c.WorkFactor, maxWorkFactor)
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

// checkKeyName says whether a key may have that name: 1 to 128 bytes of UTF-8,
// without slashes, dots, spaces at the ends and control characters, and
// nothing that reads as a key's id.
func checkKeyName(name string) error {
	fault := ""
	switch {
	case name == "":
		fault = "it is empty"
	case len(name) > maxKeyName:
		fault = fmt.Sprintf("it has more than %d bytes", maxKeyName)
	case !utf8.ValidString(name):
		fault = "it is no UTF-8"
	case strings.ContainsAny(name, `/\.`):
		fault = "it has a slash or a dot"
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		fault = "it has a control character"
	case strings.TrimSpace(name) != name:
		fault = "a space is at its beginning or end"
	default:
		if _, err := ParseName(name); err != nil {
			return nil
		}
		fault = "it reads as the id of a key"
	}
	return fmt.Errorf("names: a key can't have the name %.140q: %w: %s", name, ErrInvalid, fault)
}

func checkNewName(name string) error {
	if name == SelfKey {
		return fmt.Errorf("names: key %q: %w: it is the node's identity, and stays as it is", name, ErrExists)
	}
	return checkKeyName(name)
}

// file reads the file of a key; k.mu is held. It fails with fs.ErrNotExist,
// ErrInvalid.
func (k *Keys) file(name string) (keyFile, error) {
	data, err := k.folder.read(fileName(name))
	if err != nil {
		return keyFile{}, err
	}
	return parseFile(data)
}

// free says whether no key has that name, nor a file that can't be read; k.mu
// is held. It fails with ErrExists.
func (k *Keys) free(name string) error {
	_, err := k.folder.read(fileName(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return errors.Join(ErrExists, err)
	}
	return ErrExists
}

// Generate makes a key, an Ed25519 key. Errors: ErrExists, ErrInvalid.
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

// Import takes a key in, in either format that Export writes. Errors:
// ErrExists, ErrInvalid.
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
	data, err := marshalFile(id, key, k.c.Passphrase, k.c.WorkFactor)
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
		return fail(fmt.Errorf("there are %d keys already", n))
	}
	if err := k.free(name); err != nil {
		return fail(err)
	}
	if err := k.folder.write(fileName(name), data); err != nil {
		return fail(err)
	}
	return KeyInfo{Name: name, ID: id, Encrypted: k.c.Passphrase != ""}, nil
}

// List lists the keys, "self" first, the others by name. A file that can't be
// read gives an error that names its key, and the list goes on.
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
			if name, ok := nameOfFile(file); ok && name != SelfKey {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		for _, name := range names {
			f, err := k.file(name)
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
			f, err := k.file(info.Name)
			if err != nil {
				return fail(err)
			}
			return info, f, nil
		}
		return fail(ErrNotFound)
	}
	if nameOrID == SelfKey && k.c.Self != nil {
		return self, keyFile{id: k.self, key: k.c.Self}, nil
	}
	// Names that Kubo allows, and Generate doesn't, can be used.
	if len(nameOrID) > maxKeyName || nameOrID == SelfKey || nameOrID == "" {
		return fail(ErrNotFound)
	}
	f, err := k.file(nameOrID)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fail(ErrNotFound)
	case err != nil:
		return fail(err)
	}
	return KeyInfo{Name: nameOrID, ID: f.id, Encrypted: f.sealed != nil}, f, nil
}

// Info says what key has that name or id, in any of the forms that ParseName
// reads. It needs no passphrase. Errors: ErrNotFound, ErrInvalid.
func (k *Keys) Info(nameOrID string) (KeyInfo, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	info, _, err := k.find(nameOrID)
	return info, err
}

// Get returns the key of that name or id. Errors: ErrNotFound, ErrPassphrase,
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

// PrivateKey returns the key of an IPNS name, as Get.
func (k *Keys) PrivateKey(name Name) (crypto.PrivKey, error) { return k.Get(name.String()) }

// Export writes a key out, not encrypted. Errors: as Get.
func (k *Keys) Export(nameOrID string, format Format) ([]byte, error) {
	key, err := k.Get(nameOrID)
	if err != nil {
		return nil, err
	}
	return MarshalKey(key, format)
}

// Rename gives a key another name. Errors: ErrNotFound, ErrExists, ErrInvalid.
func (k *Keys) Rename(nameOrID, to string) (KeyInfo, error) {
	if err := checkNewName(to); err != nil {
		return KeyInfo{}, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	info, err := k.findOther(nameOrID)
	if err != nil || info.Name == to {
		return info, err
	}
	if err := k.free(to); err != nil {
		return KeyInfo{}, fmt.Errorf("names: rename key %q to %q: %w", info.Name, to, err)
	}
	if err := k.folder.rename(fileName(info.Name), fileName(to)); err != nil {
		return KeyInfo{}, fmt.Errorf("names: rename key %q: %w", info.Name, err)
	}
	info.Name = to
	return info, nil
}

// Remove removes a key for good, and returns what it was. Errors: ErrNotFound,
// ErrInvalid.
func (k *Keys) Remove(nameOrID string) (KeyInfo, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	info, err := k.findOther(nameOrID)
	if err != nil {
		return KeyInfo{}, err
	}
	if err := k.folder.remove(fileName(info.Name)); err != nil {
		return KeyInfo{}, fmt.Errorf("names: remove key %q: %w", info.Name, err)
	}
	return info, nil
}

// findOther is find for keys that are not the node's identity.
func (k *Keys) findOther(nameOrID string) (KeyInfo, error) {
	info, _, err := k.find(nameOrID)
	if err == nil && info.Name == SelfKey {
		err = fmt.Errorf("names: key %q: %w: it is the node's identity, and stays as it is", SelfKey, ErrExists)
	}
	return info, err
}
