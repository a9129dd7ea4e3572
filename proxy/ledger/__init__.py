"""The books: what was asked, what it took, what it cost."""
