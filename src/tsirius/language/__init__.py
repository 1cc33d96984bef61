"""What is known of the Russian language: cleaning, words and their lemmas, word vectors, near duplicates."""
