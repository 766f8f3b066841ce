//go:build linux

package main

import (
	"context"
	"crypto/sha256"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Times of a watch.
const (
	watchSettle = 200 * time.Millisecond // without events, after which a change counts as complete
	watchMost   = 2 * time.Second        // after which the files are checked though more events come
)

// maxWatched bounds the part of a file that its fingerprint covers. No file of a configuration may be larger.
const maxWatched = 64 << 20

// watch reloads the configuration when the content of one of its files changed. It watches folders, not files: editors
// and Kubernetes don't write to a file but replace it, the latter by changing a symbolic link.
type watch struct {
	files  func() []string
	reload func()
	log    *slog.Logger

	watcher *fsnotify.Watcher
	folders map[string]bool
	known   map[string]fingerprint
	done    sync.WaitGroup
	stop    context.CancelFunc
}

// fingerprint identifies the content of a file. That of an unreadable file is zero.
type fingerprint [sha256.Size]byte

// startWatch begins to watch. known are the fingerprints of the files from before they were read. Where the system can't
// watch, the log says so, and SIGHUP and the API remain. close ends it.
func startWatch(files func() []string, known map[string]fingerprint, reload func(), log *slog.Logger) *watch {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watch{files: files, known: known, reload: reload, log: log, folders: make(map[string]bool), stop: cancel}
	var err error
	if w.watcher, err = fsnotify.NewWatcher(); err != nil {
		log.Warn("changed files are not noticed: reload with SIGHUP or POST /v1/reload", "error", err)
		return w
	}
	w.follow()
	w.done.Go(func() { w.run(ctx) })
	return w
}

// close ends the watch.
func (w *watch) close() {
	w.stop()
	w.done.Wait()
	if w.watcher != nil {
		_ = w.watcher.Close()
	}
}

// run waits for changes. A change is often several events: the files are checked when no more of them come.
func (w *watch) run(ctx context.Context) {
	settled := time.NewTimer(watchSettle) // for changes since the start
	defer settled.Stop()
	var first time.Time // of the events since the last check
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-w.watcher.Events:
			if !ok {
				return
			}
			if first.IsZero() {
				first = time.Now()
			}
			settled.Reset(min(watchSettle, max(watchMost-time.Since(first), 0)))
		case err, ok := <-w.watcher.Errors:
			if !ok {
				return
			}
			w.log.Warn("watching the configuration's files", "error", err)
			settled.Reset(watchSettle) // events may be lost
		case <-settled.C:
			first = time.Time{}
			w.check()
		}
	}
}

// check reloads if a file has changed, and again if the configuration names other files then. It reads the fingerprints
// before each reload, so that the next check finds a change during the reload.
func (w *watch) check() {
	for range maxRenames {
		now := lookAt(w.files())
		if same(now, w.known) {
			break
		}
		w.known = now
		w.reload()
	}
	w.follow()
}

// maxRenames bounds how often in a row a reload may find other files in the configuration.
const maxRenames = 4

// lookAt returns the fingerprints of the files.
func lookAt(files []string) map[string]fingerprint {
	all := make(map[string]fingerprint)
	for _, name := range files {
		all[name] = fingerprintOf(name)
	}
	return all
}

func same(a, b map[string]fingerprint) bool {
	if len(a) != len(b) {
		return false
	}
	for name, f := range a {
		if other, ok := b[name]; !ok || other != f {
			return false
		}
	}
	return true
}

func fingerprintOf(name string) (sum fingerprint) {
	f, err := os.Open(name)
	if err != nil {
		return sum
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(f, maxWatched)); err != nil {
		return sum
	}
	h.Sum(sum[:0])
	return sum
}

// follow watches the folders of the files, and those of every symbolic link on the way to their content.
func (w *watch) follow() {
	wanted := make(map[string]bool)
	for _, name := range w.files() {
		for _, folder := range foldersOf(name) {
			wanted[folder] = true
		}
	}
	for folder := range w.folders {
		if !wanted[folder] {
			_ = w.watcher.Remove(folder) // it may be gone
			delete(w.folders, folder)
		}
	}
	for folder := range wanted {
		// Again where it is watched already: another folder may have taken the name.
		if err := w.watcher.Add(folder); err != nil && !w.folders[folder] {
			w.log.Warn("changes of files in this folder are not noticed: reload with SIGHUP or POST /v1/reload",
				"folder", folder, "error", err)
			continue
		}
		w.folders[folder] = true
	}
}

// maxLinks bounds the symbolic links on the way to a file.
const maxLinks = 16

// foldersOf returns the folder of the file, and those of the symbolic links on the way to it.
func foldersOf(name string) []string {
	var all []string
	for range maxLinks {
		folder := filepath.Dir(name)
		all = append(all, folder)
		if real, err := filepath.EvalSymlinks(folder); err == nil && real != filepath.Clean(folder) {
			all = append(all, real)
			if parent := filepath.Dir(filepath.Clean(folder)); parent != folder {
				all = append(all, parent) // the folder is a link, which can be changed
			}
		}
		target, err := os.Readlink(name)
		if err != nil {
			return all
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(folder, target)
		}
		name = target
	}
	return all
}
