// Runs before the first paint, so that the stored theme applies without a flash.
try {
	const stored = localStorage.getItem('kenyon-theme');
	if (stored) document.documentElement.dataset.theme = stored;
} catch { /* Storage may be forbidden; the system's preference then applies. */ }
