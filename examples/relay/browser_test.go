package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// TestPageInABrowser: the relay stands among its peers; a click on one says why it is where it is, and there is nothing to break. With
// HEARTH_SHOTS=DIR it leaves screenshots.
func TestPageInABrowser(t *testing.T) {
	t.Parallel()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("skipped: no chromium")
	}
	_, peer := neighbour(t)
	h := startNode(t, nodeOptions{http: "127.0.0.1:0", peers: []string{peer.String(), "127.0.0.1:1"}})
	guest := startNode(t, nodeOptions{preset: wallet, peers: []string{h.addr()}})
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.WindowSize(1200, 1300))
	allocated, free := chromedp.NewExecAllocator(context.Background(), opts...)
	defer free()
	tab, closeTab := chromedp.NewContext(allocated)
	defer closeTab()
	ctx, cancel := context.WithTimeout(tab, time.Minute)
	defer cancel()
	complaints := make(chan string, 100)
	chromedp.ListenTarget(ctx, func(ev any) {
		text := ""
		switch ev := ev.(type) {
		case *runtime.EventExceptionThrown:
			text = ev.ExceptionDetails.Error()
		case *log.EventEntryAdded:
			text = ev.Entry.Text
		default:
			return
		}
		select {
		case complaints <- text:
		default:
		}
	})
	until := func(js string) chromedp.Action {
		return chromedp.Poll(js, nil, chromedp.WithPollingTimeout(20*time.Second))
	}
	shot := func(name string) chromedp.Action {
		return chromedp.ActionFunc(func(ctx context.Context) error {
			dir := os.Getenv("HEARTH_SHOTS")
			if dir == "" {
				return nil
			}
			var png []byte
			if err := chromedp.FullScreenshot(&png, 100).Do(ctx); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, "relay-"+name+".png"), png, 0o600)
		})
	}
	var explanation string
	var buttons bool
	require.NoError(t, chromedp.Run(ctx, log.Enable(), chromedp.Navigate(fmt.Sprintf("http://%s/", h.web.Addr())),
		until(`document.querySelectorAll("#graph .node").length === 4 && document.querySelectorAll("#graph path.hot").length === 2`),
		chromedp.Click(fmt.Sprintf(`.node[aria-label*="%v"]`, peer)),
		until(`document.querySelector("#explanation").textContent !== ""`), chromedp.Text(`#explanation`, &explanation),
		chromedp.Evaluate(`document.querySelector("#kill").checkVisibility()`, &buttons), shot("peer"),
		emulation.SetDeviceMetricsOverride(390, 844, 2, true), emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}),
		until(`document.documentElement.scrollWidth <= 390`), shot("phone")))
	require.Contains(t, explanation, peer.String()+" is hot")
	require.False(t, buttons)
	select {
	case text := <-complaints:
		t.Fatal("the console says: ", text)
	default:
	}
	guest.end()
}
